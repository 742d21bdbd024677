"""What a scrape need not read again: latency that was read lately, and gauges that are still the newest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.judge import SLOWED, TEMPERATURES
from edgelift_fleet.metrics.readings import ServedLately
from edgelift_fleet.tables import TelemetryNewestRow
from edgelift_fleet.telemetry.gauges import newest
from edgelift_fleet.telemetry.joining import NONE
from edgelift_fleet.telemetry.query import sums_by_slot
from edgelift_fleet.telemetry.sums import Sum

#: Latency is told of so long before now, seconds: boards send theirs each five minutes.
LATELY_S = 600.0
#: For how long that is kept, seconds.
KEPT_S = 120.0
#: Slots of a device that are told of, at most.
MAX_SLOTS = 8
#: Gauges that are told of, as devices name them.
TOLD = (*TEMPERATURES, *SLOWED, "under_voltage", "disk_free_bytes")


class RecentService:
    """What devices served lately, each kept for two minutes: they tell of it each five minutes. For one thread at a time.

    Not all are read anew at the same scrape, which would cost some ten times as much as the others.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, list[ServedLately]]] = {}

    def of(self, session: Session, devices: Collection[str], now: float) -> dict[str, list[ServedLately]]:
        """Device → what its slots served; `now` in seconds since 1970."""
        kept = {device: self._found[device] for device in devices if device in self._found}
        due = [device for device in devices if device not in kept or not 0 <= now - kept[device][0] < KEPT_S]
        found = _served(session, due, now) if due else {}
        for device in due:
            at = now if device in kept else now - _spread(device) * KEPT_S
            kept[device] = at, found.get(device, [])
        self._found = kept
        return {device: served for device, (_, served) in kept.items()}


def _spread(device: str) -> float:
    """A share of one, the same for the same device. Pure."""
    return crc32(device.encode()) / 2**32


def _served(session: Session, devices: Sequence[str], now: float) -> dict[str, list[ServedLately]]:
    """Device → what its slots served lately."""
    found = sums_by_slot(session, devices, start=now - LATELY_S, end=now)
    return {
        device: [_served_by(slot, one) for slot, one in list(slots.items())[:MAX_SLOTS]]
        for device, slots in found.items()
    }


def _served_by(slot: str, one: Sum) -> ServedLately:
    total = one.phases.get("total", NONE)
    p50_s, p95_s = (total.p50_us / 1e6, total.p95_us / 1e6) if total.count else (None, None)
    return ServedLately(slot, one.ok, one.errors, p50_s, p95_s)


class NewestGauges:
    """Each device's newest gauges, of those that are told of; only what is newer than before is read. For one thread at a
    time.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, Mapping[str, float]]] = {}

    def of(self, session: Session) -> dict[str, Mapping[str, float]]:
        """Device → its gauges, as it names them."""
        rows = session.execute(sa.select(TelemetryNewestRow.device, TelemetryNewestRow.at)).all()
        stand = {device: at for device, at in rows}  # noqa: C416 - dict() takes a result for a mapping: it has keys
        kept = {device: one for device, one in self._kept.items() if stand.get(device) == one[0]}
        wanted = stand.keys() - kept.keys()
        if wanted:
            read = newest(session, wanted if len(wanted) < len(stand) else None)
            for device, (_, values) in read.items():
                if device in stand:
                    kept[device] = stand[device], {name: values[name] for name in TOLD if name in values}
        self._kept = kept
        return {device: values for device, (_, values) in kept.items()}
