"""Telemetry on its way out: rows as JSON lines, a page at a time, in constant memory whatever there is.

Windows come as they were sent (`minute`), or as sums of an hour or a day; histograms in the contract's form, so whoever
reads them can merge them. Gauges, swaps and events have lines of their own. Each page is read for itself: what is
summed or forgotten between two pages is told as it was when its page was read, and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.histogram import HistogramData
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.tables import (
    TelemetryBucketRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNoteRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.telemetry import gauges
from edgelift_fleet.telemetry.packing import to_data, unpack
from edgelift_fleet.telemetry.ranges import DAY, HOUR, LENGTH_MS, MINUTE

What = Literal["windows", "gauges", "swaps", "events"]
Resolution = Literal["minute", "hour", "day"]
#: Rows in a page.
PAGE = 1000
_LEVELS: dict[Resolution, int] = {"minute": MINUTE, "hour": HOUR, "day": DAY}


class WindowLine(msgspec.Struct, frozen=True):
    """A window, or the sum of those that began in an hour or a day. `received_at` is when the first of them came."""

    device: str
    slot: str
    model: str
    version: str
    artifact: str
    hardware_class: str
    throttled: bool
    probation: bool
    start: float
    end: float
    received_at: float
    windows: int
    ok: int
    errors: int
    latency_us: dict[LatencyPhase, HistogramData]


class GaugeLine(msgspec.Struct, frozen=True):
    """A device's gauges: of a minute, or least, mean and most of an hour or a day, by name."""

    device: str
    start: float
    end: float
    values: dict[str, dict[str, float]]


class NoteLine(msgspec.Struct, frozen=True):
    """A swap or an event, as the device told it."""

    device: str
    kind: str
    received_at: float
    body: msgspec.Raw


_Read = Callable[[], AbstractContextManager[Session]]


def lines(
    read: _Read, what: What, start: float, end: float, *, device: str = "", resolution: Resolution = "minute"
) -> Iterator[bytes]:
    """JSON lines, a page of them at a time.

    Args:
        read: opens a session for reading, as `Database.read`.
        what: which kind.
        start: what began from then on, seconds since 1970.
        end: and before then.
        device: of one; of all when empty.
        resolution: of windows and gauges.
    """
    level = _LEVELS[resolution]
    pages = {"windows": _windows, "gauges": _gauges}.get(what, _notes)
    encode = msgspec.json.Encoder().encode_lines
    after: tuple[Any, ...] | None = None
    span = (int(start * 1000), int(end * 1000))
    while True:
        with read() as session:
            found, after = pages(session, what, span, device, level, after)
        if found:
            yield encode(found)
        if after is None:
            return


_Page = tuple[list[Any], tuple[Any, ...] | None]


def _page(
    session: Session, query: Any, key: tuple[Any, ...], after: tuple[Any, ...] | None
) -> tuple[list[Any], tuple[Any, ...] | None]:
    """The next rows by `key`, which begins the selected columns, and what the page after it begins behind."""
    if after is not None:
        query = query.where(sa.tuple_(*key) > after)
    rows = list(session.execute(query.order_by(*key).limit(PAGE)))
    return rows, tuple(rows[-1][: len(key)]) if len(rows) == PAGE else None


def _windows(
    session: Session, _: What, span: tuple[int, int], device: str, level: int, after: tuple[Any, ...] | None
) -> _Page:
    series, minute, bucket = TelemetrySeriesRow, TelemetryMinuteRow, TelemetryBucketRow
    key: tuple[Any, ...]
    table: type[TelemetryMinuteRow] | type[TelemetryBucketRow]
    if level == MINUTE:
        key = (minute.series, minute.start, minute.epoch, minute.seq)
        first, last = minute.start.label("first"), minute.stop.label("last")
        table, number = minute, sa.literal(1).label("windows")
    else:
        key = (bucket.series, bucket.start)
        first, last = bucket.first.label("first"), bucket.last.label("last")
        table, number = bucket, bucket.windows.label("windows")
    names = [getattr(series, n) for n in WindowLine.__struct_fields__[:8]]
    query = sa.select(*key, first, last, table.received_at, number, table.ok, table.errors, table.body, *names)
    query = query.join_from(table, series, series.id == table.series)
    query = query.where(table.start >= span[0], table.start < span[1])
    if level != MINUTE:
        query = query.where(bucket.level == level)
    if device:
        query = query.where(series.device == device)
    rows, following = _page(session, query, key, after)
    return [_window_line(row) for row in rows], following


def _window_line(row: Any) -> WindowLine:
    return WindowLine(
        **{n: getattr(row, n) for n in WindowLine.__struct_fields__[:8]},
        start=row.first / 1000, end=row.last / 1000,
        received_at=row.received_at, windows=row.windows, ok=row.ok, errors=row.errors,
        latency_us={phase: to_data(part) for phase, part in unpack(row.body).items()},
    )  # fmt: skip


def _gauges(
    session: Session, _: What, span: tuple[int, int], device: str, level: int, after: tuple[Any, ...] | None
) -> _Page:
    row = TelemetryGaugeRow
    key = (row.device, row.level, row.start, row.epoch, row.seq)
    query = sa.select(*key, row.body).where(row.level == level, row.start >= span[0], row.start < span[1])
    if device:
        query = query.where(row.device == device)
    rows, following = _page(session, query, key, after)
    return [_gauge_line(one) for one in rows], following


def _gauge_line(row: Any) -> GaugeLine:
    length = LENGTH_MS.get(row.level, 60_000)
    sums = gauges.unpack(row.level, row.body)
    values = {n: {"min": s.least, "mean": s.total / s.n, "max": s.most} for n, s in sums.items()}
    return GaugeLine(row.device, row.start / 1000, (row.start + length) / 1000, values)


def _notes(
    session: Session, what: What, span: tuple[int, int], device: str, _: int, after: tuple[Any, ...] | None
) -> _Page:
    row = TelemetryNoteRow
    key = (row.device, row.epoch, row.seq)
    query = sa.select(*key, row.kind, row.received_at, row.body).where(
        row.kind == what.removesuffix("s"), row.at >= span[0] / 1000, row.at < span[1] / 1000
    )
    if device:
        query = query.where(row.device == device)
    rows, following = _page(session, query, key, after)
    return [NoteLine(n.device, n.kind, n.received_at, msgspec.Raw(n.body.encode())) for n in rows], following
