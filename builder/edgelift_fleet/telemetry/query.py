"""Latency asked for: over any stretch of time, by version, hardware class and throttling; of one device, or of many.

The fleet's own sums answer for the whole fleet, devices' sums for one device or those with a tag. Days answer for
whole days, hours for whole hours, minutes for the edges (`ranges`); windows that wait for being summed are added. The
number of statements is fixed, whatever the number of devices. Inside one `Database.read`, which sees one moment.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.histogram import Histogram
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.messages import LatencyGroup, LatencyReply, LatencyStep, Quantiles, VersionLatency
from edgelift_fleet.tables import (
    TagRow,
    TelemetryBucketRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.telemetry.joining import join, quantiles
from edgelift_fleet.telemetry.packing import parts_of, to_histogram
from edgelift_fleet.telemetry.ranges import DAY, HOUR, MINUTE, LevelSpan, outwards, pieces

#: More devices than this are not named in a statement: databases bound its parameters.
NAMED = 500
#: A tag's boards are read one by one: over so long a time, seconds, their days alone answer, a tenth of the rows.
WHOLE_DAYS_S = 7 * 86400.0
#: Before and after all buckets, milliseconds.
ALWAYS = (0, 2**52)


class Question(msgspec.Struct, frozen=True):
    """What is asked for; an empty text asks for all.

    Attributes:
        model, version, hardware_class: of the windows.
        device: one device.
        tag: devices with it, as `key` or `key=value`.
        phases: which parts of a request.
        step_s: length of a step of a picture, seconds; 0 for none.
    """

    model: str = ""
    version: str = ""
    hardware_class: str = ""
    device: str = ""
    tag: str = ""
    phases: tuple[LatencyPhase, ...] = ("total", "infer")
    step_s: float = 0.0


@dataclass
class _Found:
    """Buckets of one group."""

    windows: int = 0
    ok: int = 0
    errors: int = 0
    first: int = ALWAYS[1]
    last: int = 0
    bodies: list[bytes] = field(default_factory=list)

    def add(self, row: sa.Row[Any]) -> None:
        self.windows += row.windows
        self.ok += row.ok
        self.errors += row.errors
        self.first, self.last = min(self.first, row.first), max(self.last, row.last)
        self.bodies.append(row.body)

    def quantiles(self, phases: Sequence[LatencyPhase]) -> dict[str, Quantiles]:
        """By phase, of those that were measured."""
        return {phase: quantiles(join(parts)) for phase in phases if (parts := parts_of(self.bodies, phase))}


_GROUP = ("slot", "model", "version", "artifact", "hardware_class", "throttled")


def latency(
    session: Session, wanted: Question, start: float, end: float, *, minutes_from: float = 0.0
) -> LatencyReply:
    """Latency by slot, version, artifact, hardware class and throttling.

    Args:
        session: for reading.
        wanted: what of it.
        start: seconds since 1970.
        end: not included.
        minutes_from: minutes are kept from this time on, seconds since 1970.
    """
    of_devices = bool(wanted.device or wanted.tag)
    finest = MINUTE if wanted.device and start >= minutes_from else HOUR
    if wanted.tag and not wanted.step_s and end - start >= WHOLE_DAYS_S:
        finest = DAY
    span = outwards(int(start * 1000), int(end * 1000), finest)
    coarsest = _coarsest(wanted.step_s, span[0])
    parts = pieces(*span, finest=finest, coarsest=coarsest)
    rows = _of_devices(session, wanted, parts) if of_devices else _of_fleet(session, wanted, parts)
    groups: dict[tuple[Any, ...], _Found] = defaultdict(_Found)
    steps: dict[tuple[Any, ...], dict[int, _Found]] = defaultdict(lambda: defaultdict(_Found))
    for row in rows:
        key = tuple(getattr(row, name) for name in _GROUP)
        groups[key].add(row)
        if wanted.step_s:
            steps[key][int((row.start - span[0]) // (wanted.step_s * 1000))].add(row)
    made = [
        _group(key, found, _steps(steps[key], span[0] / 1000, wanted), wanted.phases)
        for key, found in sorted(groups.items(), key=lambda one: (one[0][0], one[1].first, one[0]))
    ]
    return LatencyReply(span[0] / 1000, span[1] / 1000, made)


def _coarsest(step_s: float, start_ms: int) -> int:
    """The longest bucket that never reaches from one step into the next."""
    if not step_s:
        return 2
    fits = [
        level
        for level, length in ((2, 86400), (1, 3600))
        if step_s % length == 0 and start_ms % (length * 1000) == 0
    ]
    return fits[0] if fits else MINUTE


def _group(
    key: tuple[Any, ...], found: _Found, steps: list[LatencyStep], phases: Sequence[LatencyPhase]
) -> LatencyGroup:
    return LatencyGroup(
        **dict(zip(_GROUP, key, strict=True)), windows=found.windows, ok=found.ok, errors=found.errors,
        start=found.first / 1000, end=found.last / 1000, phases=found.quantiles(phases), steps=steps,
    )  # fmt: skip


def _steps(steps: dict[int, _Found], start: float, wanted: Question) -> list[LatencyStep]:
    return [
        LatencyStep(
            start + n * wanted.step_s, start + (n + 1) * wanted.step_s, steps[n].ok, steps[n].errors,
            steps[n].quantiles(wanted.phases),
        )
        for n in sorted(steps)
    ]  # fmt: skip


_Series = type[TelemetrySeriesRow] | type[TelemetryFleetSeriesRow]
_SUMS = ("start", "windows", "ok", "errors", "first", "last", "body")


def _of_fleet(session: Session, wanted: Question, parts: Sequence[LevelSpan]) -> Iterator[sa.Row[Any]]:
    series, bucket = TelemetryFleetSeriesRow, TelemetryFleetBucketRow
    which = _matching(series, wanted)
    names = [getattr(series, name) for name in _GROUP]
    for piece in parts:
        query = sa.select(*names, *(getattr(bucket, name) for name in _SUMS))
        query = query.join_from(series, bucket, bucket.series == series.id)
        yield from session.execute(query.where(*which, *_within(bucket, piece)))
        yield from session.execute(_waiting(names, piece, which, fleet=True))


def _of_devices(session: Session, wanted: Question, parts: Sequence[LevelSpan]) -> Iterator[sa.Row[Any]]:
    which = [*_matching(TelemetrySeriesRow, wanted), *_of_whom(wanted)]
    yield from _device_rows(session, [getattr(TelemetrySeriesRow, name) for name in _GROUP], which, parts)


def _device_rows(
    session: Session, names: list[Any], which: Sequence[Any], parts: Sequence[LevelSpan]
) -> Iterator[sa.Row[Any]]:
    """Everything that devices' series hold of a stretch of time."""
    series, bucket = TelemetrySeriesRow, TelemetryBucketRow
    for piece in parts:
        if piece.level == MINUTE:
            yield from session.execute(_minutes(names).where(*which, *_between(TelemetryMinuteRow, piece)))
            continue
        query = sa.select(*names, *(getattr(bucket, name) for name in _SUMS))
        query = query.join_from(series, bucket, bucket.series == series.id)
        yield from session.execute(query.where(*which, *_within(bucket, piece)))
        yield from session.execute(_waiting(names, piece, which, fleet=False))


def _minutes(names: list[Any]) -> sa.Select[Any]:
    minute, series = TelemetryMinuteRow, TelemetrySeriesRow
    query = sa.select(
        *names, minute.start, sa.literal(1).label("windows"), minute.ok, minute.errors, minute.start.label("first"),
        minute.stop.label("last"), minute.body,
    )  # fmt: skip
    return query.join_from(series, minute, minute.series == series.id)


def _waiting(names: list[Any], piece: LevelSpan, which: Sequence[Any], *, fleet: bool) -> sa.Select[Any]:
    """Windows that are in no bucket yet."""
    waits, minute, series = TelemetryPendingRow, TelemetryMinuteRow, TelemetrySeriesRow
    query = _minutes(names).join(
        waits,
        sa.and_(*(getattr(waits, n) == getattr(minute, n) for n in ("series", "start", "epoch", "seq"))),
    )
    if fleet:
        query = query.join(TelemetryFleetSeriesRow, TelemetryFleetSeriesRow.id == series.fleet)
    return query.where(*which, *_between(waits, piece))


def _between(table: type[TelemetryMinuteRow] | type[TelemetryPendingRow], piece: LevelSpan) -> list[Any]:
    return [table.start >= piece.start, table.start < piece.stop]


def _within(bucket: type[TelemetryBucketRow] | type[TelemetryFleetBucketRow], piece: LevelSpan) -> list[Any]:
    return [bucket.level == piece.level, bucket.start >= piece.start, bucket.start < piece.stop]


def _matching(series: _Series, wanted: Question) -> list[Any]:
    names = ("model", "version", "hardware_class")
    return [getattr(series, n) == getattr(wanted, n) for n in names if getattr(wanted, n)]


def _of_whom(wanted: Question) -> list[Any]:
    conditions: list[Any] = [TelemetrySeriesRow.device == wanted.device] if wanted.device else []
    if wanted.tag:
        key, equals, value = wanted.tag.partition("=")
        tagged = sa.select(TagRow.device).where(TagRow.key == key)
        conditions.append(TelemetrySeriesRow.device.in_(tagged.where(TagRow.value == value) if equals else tagged))
    return conditions


@dataclass(frozen=True)
class ServedSum:
    """What a device's slot served in a stretch of time: requests answered and failed, and their latency."""

    ok: int
    errors: int
    latency: Histogram


def served_by_device(
    session: Session, slot: str, devices: Collection[str], *, start: float, end: float, artifact: str | None = None,
    phase: LatencyPhase = "total", minutes_from: float = 0.0, last_s: float = 0.0,
) -> dict[str, dict[bool, ServedSum]]:  # fmt: skip
    """What each device's slot served: a fixed number of statements for any number of devices.

    Args:
        session: for reading.
        slot: whose windows.
        devices: ids.
        start: windows that began from then on, seconds since 1970 by the devices' clocks.
        end: and before then.
        artifact: of this one alone; None for all.
        phase: which part of a request the latency is of.
        minutes_from: minutes are kept from this time on, seconds since 1970.
        last_s: of windows that began so shortly before `end` only those that ended by then count, seconds.

    Returns:
        device → throttled → what was served; what served nothing is left out.
    """
    series = TelemetrySeriesRow
    which: list[Any] = [series.slot == slot]
    if artifact is not None:
        which.append(series.artifact == artifact)
    if len(devices) <= NAMED:
        which.append(series.device.in_(sorted(devices)))
    start_ms, end_ms, last_ms = int(start * 1000), int(end * 1000), int(last_s * 1000)
    parts = pieces(start_ms, end_ms - last_ms, finest=MINUTE if start >= minutes_from else HOUR)
    wanted, names = set(devices), [series.device, series.throttled]
    found: dict[str, dict[bool, _Found]] = defaultdict(lambda: defaultdict(_Found))
    rows = _device_rows(session, names, which, parts)
    if last_s:
        ended = [*which, TelemetryMinuteRow.stop <= end_ms]
        last = [LevelSpan(MINUTE, max(start_ms, end_ms - last_ms), end_ms)]
        rows = chain(rows, _device_rows(session, names, ended, last))
    for row in rows:
        if row.device in wanted:
            found[row.device][row.throttled].add(row)
    return {
        device: {
            throttled: ServedSum(one.ok, one.errors, to_histogram(join(parts_of(one.bodies, phase))))
            for throttled, one in found[device].items()
        }
        for device in sorted(found)
    }


def by_device(
    session: Session, slot: str, devices: Collection[str], *, start: float, end: float, artifact: str | None = None,
    throttled: bool | None = None, phase: LatencyPhase = "total", minutes_from: float = 0.0,
) -> dict[str, Histogram]:  # fmt: skip
    """Each device's latency as `served_by_device` reads it, of one state of throttling or (None) of both together.

    Devices without any request are left out.
    """
    found = served_by_device(
        session, slot, devices, start=start, end=end, artifact=artifact, phase=phase, minutes_from=minutes_from
    )
    made: dict[str, Histogram] = {}
    for device, states in found.items():
        whole = Histogram()
        for state, served in states.items():
            if throttled in (None, state):
                whole.merge(served.latency)
        if whole.count:
            made[device] = whole
    return made


def latency_by_version(session: Session, device: str, *, since: float = 0.0) -> list[VersionLatency]:
    """The device's latency (phase `total`) by slot and artifact, in the order in which they first served.

    Args:
        session: for reading.
        device: its id.
        since: windows that began before are left out, seconds since 1970; whole days answer.
    """
    series = TelemetrySeriesRow
    names = [series.slot, series.artifact, series.model, series.version]
    parts = pieces(int(since * 1000), ALWAYS[1], finest=2)
    found: dict[tuple[str, str], _Found] = defaultdict(_Found)
    named: dict[tuple[str, str], sa.Row[Any]] = {}
    for row in _device_rows(session, names, [series.device == device], parts):
        found[row.slot, row.artifact].add(row)
        named[row.slot, row.artifact] = row
    return [
        _version_latency(named[key], one)
        for key, one in sorted(found.items(), key=lambda one: (one[1].first, one[0]))
    ]


def _version_latency(named: sa.Row[Any], found: _Found) -> VersionLatency:
    return VersionLatency(
        model=named.model, version=named.version, artifact=named.artifact, windows=found.windows, ok=found.ok,
        errors=found.errors, start=found.first / 1000, end=found.last / 1000,
        total=quantiles(join(parts_of(found.bodies, "total"))),
    )  # fmt: skip


def minutes_kept_from(minute_days: float, now: float | None = None) -> float:
    """From when on minutes are kept, seconds since 1970; `minute_days` 0 keeps them for ever."""
    return (time.time() if now is None else now) - minute_days * 86400 if minute_days else 0.0
