"""What devices' series hold of a stretch of time, row by row as the tables have it, as `sums.Buckets` takes it.

Days and hours from their buckets, minutes as they came, and with buckets the windows that wait for being summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.tables import (
    TelemetryBucketRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.telemetry.ranges import MINUTE, LevelSpan

#: What a row has behind its key.
SUMS = ("start", "windows", "ok", "errors", "first", "last", "body")
#: Rows at a time from the database.
_AT_ONCE = 5000


def device_rows(
    session: Session, by: Any, which: Sequence[Any], parts: Sequence[LevelSpan]
) -> Iterator[Sequence[Any]]:
    """Everything of a stretch of time, windows that wait included.

    Args:
        session: for reading.
        by: a column of `TelemetrySeriesRow`: each row's key.
        which: conditions on `TelemetrySeriesRow`.
        parts: the stretch, as `ranges.pieces` makes it.
    """
    for piece in parts:
        if piece.level == MINUTE:
            yield from session.execute(_minutes(by).where(*which, *_between(TelemetryMinuteRow, piece))).all()
            continue
        yield from bucket_rows(session, by, which, piece)
        yield from session.execute(waiting(by, piece, which, fleet=False)).all()


def bucket_rows(session: Session, by: Any, which: Sequence[Any], piece: LevelSpan) -> Iterator[Sequence[Any]]:
    """The same of hours or days, without what waits; as few at a time in memory as its reader keeps."""
    series, bucket = TelemetrySeriesRow, TelemetryBucketRow
    query = sa.select(by, *(getattr(bucket, name) for name in SUMS))
    query = query.join_from(series, bucket, bucket.series == series.id).where(*which, *within(bucket, piece))
    yield from session.execute(query, execution_options={"yield_per": _AT_ONCE})


def waiting(by: Any, piece: LevelSpan, which: Sequence[Any], *, fleet: bool) -> sa.Select[Any]:
    """Windows that are in no bucket yet."""
    waits, minute, series = TelemetryPendingRow, TelemetryMinuteRow, TelemetrySeriesRow
    query = _minutes(by).join(
        waits,
        sa.and_(*(getattr(waits, n) == getattr(minute, n) for n in ("series", "start", "epoch", "seq"))),
    )
    if fleet:
        query = query.join(TelemetryFleetSeriesRow, TelemetryFleetSeriesRow.id == series.fleet)
    return query.where(*which, *_between(waits, piece))


def within(bucket: type[TelemetryBucketRow] | type[TelemetryFleetBucketRow], piece: LevelSpan) -> list[Any]:
    """Conditions: buckets of a piece."""
    return [bucket.level == piece.level, bucket.start >= piece.start, bucket.start < piece.stop]


def _minutes(by: Any) -> sa.Select[Any]:
    minute, series = TelemetryMinuteRow, TelemetrySeriesRow
    query = sa.select(
        by, minute.start, sa.literal(1).label("windows"), minute.ok, minute.errors, minute.start.label("first"),
        minute.stop.label("last"), minute.body,
    )  # fmt: skip
    return query.join_from(series, minute, minute.series == series.id)


def _between(table: type[TelemetryMinuteRow] | type[TelemetryPendingRow], piece: LevelSpan) -> list[Any]:
    return [table.start >= piece.start, table.start < piece.stop]
