"""A device's gauges (temperature, throttling, memory, disk): stored, joined by age, and read back.

As they came they are a mapping of name to value. An hour or a day of them is, for each name, how many values there
were, their sum, the least and the most: joined exactly, in any order. Names that agents send are written as their
place in `KNOWN`; others as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among, insert_new
from edgelift_fleet.messages import GaugeStep, GaugeValue
from edgelift_fleet.tables import TelemetryGaugeRow, TelemetryNewestRow, table_of

#: The names that boards send. A format: append only.
KNOWN = (
    "cpu_pct", "load_1m", "memory_used_bytes", "memory_available_bytes", "disk_free_bytes", "agent_rss_bytes",
    "uptime_s", "soc_temp_c", "cpu_thermal_temp_c", "throttled", "throttled_since_boot", "under_voltage",
    "under_voltage_since_boot", "frequency_capped", "frequency_capped_since_boot", "soft_temp_limit",
    "soft_temp_limit_since_boot", "cpu_freq_mhz", "power_w", "gpu_freq_mhz", "gpu_load_pct", "gpu_temp_c",
    "cpu_temp_c", "fan_rpm", "over_current",
)  # fmt: skip
_PLACE = {name: place for place, name in enumerate(KNOWN)}
#: More names than any board has; what comes beyond is dropped.
MAX_NAMES = 48
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}\Z")


class GaugeSum(NamedTuple):
    """Of one gauge: number of values, their sum, the least and the most."""

    n: int
    total: float
    least: float
    most: float


Sums = dict[str, GaugeSum]
_values = msgspec.msgpack.Decoder(dict[int | str, float])
_sums = msgspec.msgpack.Decoder(dict[int | str, GaugeSum])


def pack_values(values: Mapping[str, float]) -> bytes:
    """Gauges as they came, as a body; whole numbers are written as such."""
    packed: dict[int | str, float] = {}
    for name, value in values.items():
        place = _PLACE.get(name)
        if place is None and (len(packed) >= MAX_NAMES or not _NAME.match(name)):
            continue
        whole = abs(value) < 2**53 and value == int(value)
        packed[name if place is None else place] = int(value) if whole else value
    return msgspec.msgpack.encode(packed)


def unpack_values(body: bytes) -> dict[str, float]:
    """The gauges in a body of level 0; none for one that can't be read: it costs itself."""
    try:
        return {_name(key): value for key, value in _values.decode(body).items()}
    except msgspec.MsgspecError:
        return {}


def unpack(level: int, body: bytes) -> Sums:
    """The sums in a body of any level; none for one that can't be read."""
    try:
        if level == 0:
            return {_name(key): GaugeSum(1, value, value, value) for key, value in _values.decode(body).items()}
        return {_name(key): value for key, value in _sums.decode(body).items()}
    except msgspec.MsgspecError:
        return {}


def is_whole(level: int, body: bytes) -> bool:
    """Can a body be read?"""
    try:
        (_values if level == 0 else _sums).decode(body)
    except msgspec.MsgspecError:
        return False
    return True


def pack_sums(sums: Mapping[str, GaugeSum]) -> bytes:
    """Sums as a body of an hour or a day."""
    return msgspec.msgpack.encode({_PLACE.get(name, name): value for name, value in sums.items()})


def _name(key: int | str) -> str:
    if isinstance(key, str):
        return key
    return KNOWN[key] if key < len(KNOWN) else f"gauge-{key}"  # written by a newer release


def join(parts: Iterable[Sums]) -> Sums:
    """Sums over several times as one."""
    joined: Sums = {}
    for part in parts:
        for name, new in part.items():
            old = joined.get(name)
            joined[name] = new if old is None else GaugeSum(
                old.n + new.n, old.total + new.total, min(old.least, new.least), max(old.most, new.most)
            )  # fmt: skip
    return joined


def keep_newest(session: Session, found: Mapping[str, tuple[int, bytes]]) -> None:
    """Remember the newest gauges of devices: (when, body) by device."""
    if not found:
        return
    rows = [{"device": device, "at": at, "body": body} for device, (at, body) in sorted(found.items())]
    insert_new(session, TelemetryNewestRow, rows)
    table = table_of(TelemetryNewestRow)
    bound = [{"key": row["device"], "new_at": row["at"], "new_body": row["body"]} for row in rows]
    session.connection().execute(
        sa.update(table)
        .where(table.c.device == sa.bindparam("key"), table.c.at <= sa.bindparam("new_at"))
        .values(at=sa.bindparam("new_at"), body=sa.bindparam("new_body")),
        bound,
    )


def newest(session: Session, devices: Collection[str] | None = None) -> dict[str, tuple[float, dict[str, float]]]:
    """The newest gauges of every device that sent any, or of these: device → (when, name → value)."""
    query = sa.select(TelemetryNewestRow.device, TelemetryNewestRow.at, TelemetryNewestRow.body)
    if devices is not None:
        query = query.where(among(session, TelemetryNewestRow.device, devices))
    return {device: (at / 1000, unpack_values(body)) for device, at, body in session.execute(query)}


def steps(session: Session, device: str, start: float, end: float, step_s: float) -> list[GaugeStep]:
    """A device's gauges in equal steps of time: least, mean and most of each.

    What is kept of a time may be minutes, hours or days; a bucket is counted to the step in which it began.

    Args:
        session: of the database.
        device: its id.
        start: seconds since 1970.
        end: seconds since 1970, not included.
        step_s: length of a step, seconds.
    """
    row = TelemetryGaugeRow
    query = sa.select(row.level, row.start, row.body).where(
        row.device == device, row.start >= int(start * 1000), row.start < int(end * 1000)
    )
    found: dict[int, list[Sums]] = {}
    for level, at, body in session.execute(query):
        found.setdefault(int((at / 1000 - start) // step_s), []).append(unpack(level, body))
    return [
        GaugeStep(start + number * step_s, start + (number + 1) * step_s, _view(join(found[number])))
        for number in sorted(found)
    ]


def _view(sums: Sums) -> dict[str, GaugeValue]:
    return {name: GaugeValue(s.least, s.total / s.n, s.most) for name, s in sorted(sums.items())}
