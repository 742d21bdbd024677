"""How many requests devices' slots served in a stretch of time: counts alone, summed by the database.

What `query` reads with histograms costs a thousand times as much; who only wants to know whether a device has served
enough asks here, again and again while it waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among
from edgelift_fleet.tables import (
    TelemetryBucketRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.telemetry.ranges import MINUTE, LevelSpan, pieces


class Requests(NamedTuple):
    """Requests answered and failed."""

    ok: int
    errors: int


#: Device, throttled?, answered, failed.
_Sums = sa.Select[str, bool, int, int]
#: Device → throttled? → requests.
ByDevice = dict[str, dict[bool, Requests]]


def requests_by_device(
    session: Session, slot: str, devices: Collection[str], *, start: float, end: float, last_s: float = 0.0
) -> ByDevice:
    """What each device's slot served: a fixed number of statements for any number of devices.

    Args:
        session: for reading.
        slot: whose windows.
        devices: ids; of others nothing is told.
        start: windows that began from then on, seconds since 1970 by the devices' clocks.
        end: and before then.
        last_s: of those that began so shortly before `end` only the ones that ended by then count, seconds.
    """
    wanted = set(devices)
    named = among(session, TelemetrySeriesRow.device, wanted)
    sums: dict[str, dict[bool, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for query in _all_queries(int(start * 1000), int(end * 1000), int(last_s * 1000)):
        query = query.where(TelemetrySeriesRow.slot == slot, named)
        for device, throttled, ok, errors in session.execute(query):
            into = sums[device][bool(throttled)]
            into[0], into[1] = into[0] + int(ok), into[1] + int(errors)
    return {device: {t: Requests(*both) for t, both in states.items()} for device, states in sums.items()}


def _all_queries(start: int, end: int, last: int) -> Iterator[_Sums]:
    for piece in pieces(start, end - last):
        yield from _queries(piece)
    for query in _queries(LevelSpan(MINUTE, max(start, end - last), end)) if last else ():
        yield query.where(TelemetryMinuteRow.stop <= end)


def _queries(piece: LevelSpan) -> list[_Sums]:
    series, minute, bucket, waits = TelemetrySeriesRow, TelemetryMinuteRow, TelemetryBucketRow, TelemetryPendingRow
    by = (series.device, series.throttled)
    windows = sa.select(*by, sa.func.sum(minute.ok), sa.func.sum(minute.errors)).group_by(*by)
    windows = windows.join_from(series, minute, minute.series == series.id)
    if piece.level == MINUTE:
        return [windows.where(minute.start >= piece.start, minute.start < piece.stop)]
    sums = sa.select(*by, sa.func.sum(bucket.ok), sa.func.sum(bucket.errors)).group_by(*by)
    sums = sums.join_from(series, bucket, bucket.series == series.id)
    sums = sums.where(bucket.level == piece.level, bucket.start >= piece.start, bucket.start < piece.stop)
    key = sa.and_(*(getattr(waits, n) == getattr(minute, n) for n in ("series", "start", "epoch", "seq")))
    waiting = windows.join(waits, key).where(waits.start >= piece.start, waits.start < piece.stop)
    return [sums, waiting]
