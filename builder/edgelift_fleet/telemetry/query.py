"""Latency asked for: over any stretch of time, by version, hardware class and throttling; of one device, or of many.

The fleet's own sums answer for the whole fleet, a device's for itself, and for a tag those that are remembered of its
devices (`reading`). Days answer for whole days, hours for whole hours, minutes for the edges (`ranges`); windows that
wait for being summed are added. The number of statements is fixed, whatever the number of devices. Inside one
`Database.read`, which sees one moment.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.histogram import Histogram
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.db import among
from edgelift_fleet.messages import LatencyGroup, LatencyReply, LatencyStep, VersionLatency
from edgelift_fleet.tables import (
    TagRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryMinuteRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.telemetry.device_rows import SUMS, device_rows, waiting, within
from edgelift_fleet.telemetry.joining import NONE
from edgelift_fleet.telemetry.packing import to_histogram
from edgelift_fleet.telemetry.ranges import DAY, HOUR, MINUTE, LevelSpan, outwards, pieces
from edgelift_fleet.telemetry.reading import Names, rows_of_many
from edgelift_fleet.telemetry.sums import Buckets, Sum, numbered

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


_GROUP = ("slot", "model", "version", "artifact", "hardware_class", "throttled")


def latency(
    session: Session, wanted: Question, start: float, end: float, *, minutes_from: float = 0.0,
    asked: AskedCohorts | None = None,
) -> LatencyReply:  # fmt: skip
    """Latency by slot, version, artifact, hardware class and throttling.

    Args:
        session: for reading.
        wanted: what of it.
        start: seconds since 1970.
        end: not included.
        minutes_from: minutes are kept from this time on, seconds since 1970.
        asked: is told of a tag whose devices' sums are worth being remembered.
    """
    finest = MINUTE if wanted.device and start >= minutes_from else HOUR
    if wanted.tag and not wanted.step_s and end - start >= WHOLE_DAYS_S:
        finest = DAY
    span = outwards(int(start * 1000), int(end * 1000), finest)
    parts = pieces(*span, finest=finest, coarsest=_coarsest(wanted.step_s, span[0]))
    # A device's own words tell its series apart; a tag's boards are shown by the fleet's.
    series: _Series = TelemetrySeriesRow if wanted.device else TelemetryFleetSeriesRow
    buckets = Buckets(_rows(session, wanted, parts, asked))
    named = _named(session, series, [getattr(series, name) for name in _GROUP], buckets)
    keys, groups = numbered(named)
    steps = _steps(buckets, groups, len(keys), span[0], wanted)
    made = [
        (key, _group(key, found, steps[number]))
        for number, (key, found) in enumerate(
            zip(keys, buckets.sums(groups, len(keys), wanted.phases), strict=True)
        )
    ]
    made.sort(key=lambda one: (one[0][0], one[1].start, one[0]))
    return LatencyReply(span[0] / 1000, span[1] / 1000, [group for _, group in made])


def _rows(
    session: Session, wanted: Question, parts: Sequence[LevelSpan], asked: AskedCohorts | None
) -> Iterable[Sequence[Any]]:
    if not wanted.device:
        if not wanted.tag:
            return _of_fleet(session, wanted, parts)
        return rows_of_many(session, _tagged(session, wanted.tag), _names(wanted), parts, asked)
    series = TelemetrySeriesRow
    which = [*_names(wanted).of(series), series.device == wanted.device]
    if wanted.tag:
        which.append(among(session, series.device, _tagged(session, wanted.tag)))
    return device_rows(session, series.id, which, parts)


def _named(session: Session, series: _Series, names: list[Any], buckets: Buckets) -> list[tuple[Any, ...]]:
    """Of each row what its series is called."""
    query = sa.select(series.id, *names).where(among(session, series.id, set(buckets.keys)))
    called = {number: tuple(rest) for number, *rest in session.execute(query)}
    return [called[key] for key in buckets.keys]


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


def _group(key: tuple[Any, ...], found: Sum, steps: list[LatencyStep]) -> LatencyGroup:
    return LatencyGroup(
        **dict(zip(_GROUP, key, strict=True)), windows=found.windows, ok=found.ok, errors=found.errors,
        start=found.first / 1000, end=found.last / 1000, phases=found.phases, steps=steps,
    )  # fmt: skip


def _steps(
    buckets: Buckets, groups: npt.NDArray[np.int64], number: int, start_ms: int, wanted: Question
) -> list[list[LatencyStep]]:
    """Of each group its steps, in order of time; those in which nothing was served are left out."""
    found: list[list[LatencyStep]] = [[] for _ in range(number)]
    if not wanted.step_s or not len(groups):
        return found
    places = ((buckets.start - start_ms) // (wanted.step_s * 1000)).astype(np.int64)
    many = int(places.max()) + 1
    there, rows = np.unique(groups * many + places, return_inverse=True)
    for one, served in zip(there.tolist(), buckets.sums(rows, len(there), wanted.phases), strict=True):
        group, place = divmod(one, many)
        began = start_ms / 1000 + place * wanted.step_s
        found[group].append(LatencyStep(began, began + wanted.step_s, served.ok, served.errors, served.phases))
    return found


_Series = type[TelemetrySeriesRow] | type[TelemetryFleetSeriesRow]


def _of_fleet(session: Session, wanted: Question, parts: Sequence[LevelSpan]) -> Iterator[sa.Row[Any]]:
    series, bucket = TelemetryFleetSeriesRow, TelemetryFleetBucketRow
    which = _names(wanted).of(series)
    for piece in parts:
        query = sa.select(series.id, *(getattr(bucket, name) for name in SUMS))
        query = query.join_from(series, bucket, bucket.series == series.id)
        yield from session.execute(query.where(*which, *within(bucket, piece))).all()
        yield from session.execute(waiting(series.id, piece, which, fleet=True)).all()


def _names(wanted: Question) -> Names:
    return Names(wanted.model, wanted.version, wanted.hardware_class)


def _tagged(session: Session, tag: str) -> frozenset[str]:
    """The devices with a tag, `key` or `key=value`."""
    key, equals, value = tag.partition("=")
    query = sa.select(TagRow.device).where(TagRow.key == key)
    return frozenset(session.scalars(query.where(TagRow.value == value) if equals else query))


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
    which.append(among(session, series.device, devices))
    start_ms, end_ms, last_ms = int(start * 1000), int(end * 1000), int(last_s * 1000)
    parts = pieces(start_ms, end_ms - last_ms, finest=MINUTE if start >= minutes_from else HOUR)
    rows = device_rows(session, series.id, which, parts)
    if last_s:
        ended = [*which, TelemetryMinuteRow.stop <= end_ms]
        last = [LevelSpan(MINUTE, max(start_ms, end_ms - last_ms), end_ms)]
        rows = chain(rows, device_rows(session, series.id, ended, last))
    buckets = Buckets(rows)
    keys, groups = numbered(_named(session, series, [series.device, series.throttled], buckets))
    found: dict[str, dict[bool, ServedSum]] = {device: {} for device in sorted({device for device, _ in keys})}
    for (device, throttled), (ok, errors), part in zip(
        keys, buckets.counted(groups, len(keys)), buckets.joined(groups, len(keys), phase), strict=True
    ):
        found[device][throttled] = ServedSum(ok, errors, to_histogram(part))
    return found


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


def sums_by_slot(
    session: Session, devices: Collection[str], *, start: float, end: float
) -> dict[str, dict[str, Sum]]:
    """What each device's slots served, with the quantiles of the phase `total`: device → slot → sum.

    Args:
        session: for reading.
        devices: ids.
        start: windows that began from then on, seconds since 1970.
        end: and before then.
    """
    series = TelemetrySeriesRow
    parts = pieces(int(start * 1000), int(end * 1000))
    buckets = Buckets(device_rows(session, series.id, [among(session, series.device, devices)], parts))
    keys, groups = numbered(_named(session, series, [series.device, series.slot], buckets))
    found: dict[str, dict[str, Sum]] = {}
    for (device, slot), one in sorted(zip(keys, buckets.sums(groups, len(keys), ["total"]), strict=True)):
        found.setdefault(device, {})[slot] = one
    return found


def latency_by_version(session: Session, device: str, *, since: float = 0.0) -> list[VersionLatency]:
    """The device's latency (phase `total`) by slot and artifact, in the order in which they first served.

    Args:
        session: for reading.
        device: its id.
        since: windows that began before are left out, seconds since 1970; whole days answer.
    """
    series = TelemetrySeriesRow
    parts = pieces(int(since * 1000), ALWAYS[1], finest=2)
    buckets = Buckets(device_rows(session, series.id, [series.device == device], parts))
    named = _named(session, series, [series.slot, series.artifact, series.model, series.version], buckets)
    first = {(slot, artifact): (model, version) for slot, artifact, model, version in reversed(named)}
    keys, groups = numbered([(slot, artifact) for slot, artifact, _, _ in named])
    found = zip(keys, buckets.sums(groups, len(keys), ["total"]), strict=True)
    return [
        VersionLatency(
            model=first[key][0], version=first[key][1], artifact=key[1], windows=one.windows, ok=one.ok,
            errors=one.errors, start=one.first / 1000, end=one.last / 1000, total=one.phases.get("total", NONE),
        )
        for key, one in sorted(found, key=lambda one: (one[1].first, one[0]))
    ]  # fmt: skip


def minutes_kept_from(minute_days: float, now: float | None = None) -> float:
    """From when on minutes are kept, seconds since 1970; `minute_days` 0 keeps them for ever."""
    return (time.time() if now is None else now) - minute_days * 86400 if minute_days else 0.0
