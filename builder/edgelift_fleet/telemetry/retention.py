"""How long what is kept: minutes for days, hours for weeks, days for a year; in small transactions.

By the host's clock, when it was received: a device's own may be wrong. Windows are in their hours and days from the
beginning, so old ones are deleted; gauges are joined into hours, and those into days, as they age. A device that is
sampled keeps the minutes it sent in that time until everything of its age goes.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.site import SiteConfig
from edgelift_fleet.tables import (
    Base,
    TelemetryBucketRow,
    TelemetryDoubtRow,
    TelemetryFleetBucketRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNoteRow,
    TelemetryPendingRow,
    TelemetrySampleRow,
    TelemetrySeriesRow,
    table_of,
)
from edgelift_fleet.telemetry import gauges
from edgelift_fleet.telemetry.cohort_sums import forget_before
from edgelift_fleet.telemetry.cohorts import mark_changed
from edgelift_fleet.telemetry.ranges import DAY, HOUR, LENGTH_MS, MINUTE, NEWEST_S, floor

#: Rows in one transaction.
AT_ONCE = 2000


class Ages(msgspec.Struct, frozen=True):
    """How long what is kept, days; 0 keeps it for ever.

    Attributes:
        minutes: windows and gauges as they came.
        hours: sums of an hour.
        notes: swaps and events.
        days: sums of a day, and everything else.
    """

    minutes: float = 2.0
    hours: float = 45.0
    notes: float = 90.0
    days: float = 400.0


def ages_of(config: SiteConfig) -> Ages:
    """As a site's configuration has them."""
    return Ages(
        config.telemetry_minute_days,
        config.telemetry_hour_days,
        config.telemetry_event_days,
        config.telemetry_days,
    )


def sweep(session: Session, ages: Ages, *, now: float | None = None, at_most: int = AT_ONCE) -> int:
    """Delete or join what is older than its age, up to `at_most` rows of each kind; how many rows went.

    Inside a write transaction; again until it answers 0.
    """
    now = time.time() if now is None else now
    gone = 0
    mark_changed(session)
    if ages.minutes:
        before = now - ages.minutes * 86400
        gone += _drop_minutes(session, before, _oldest(now, ages.days), at_most)
        gone += _age_gauges(session, MINUTE, HOUR, before, at_most)
    if ages.hours:
        before = now - ages.hours * 86400
        gone += _drop_buckets(session, HOUR, before, at_most)
        gone += _age_gauges(session, HOUR, DAY, before, at_most)
    if ages.notes:
        before = now - ages.notes * 86400
        gone += _drop(session, TelemetryNoteRow, TelemetryNoteRow.received_at < before, at_most)
        gone += _drop(session, TelemetryDoubtRow, TelemetryDoubtRow.last_at < before, at_most)
    if ages.days:
        before = now - ages.days * 86400
        gone += _drop_buckets(session, DAY, before, at_most)
        gone += _drop(session, TelemetryGaugeRow, TelemetryGaugeRow.received_at < before, at_most)
        gone += _drop(session, TelemetrySampleRow, TelemetrySampleRow.until < before, at_most)
    return gone


def _oldest(now: float, days: float) -> float:
    return now - days * 86400 if days else 0.0


def _drop(session: Session, table: type[Base], which: Any, at_most: int) -> int:
    """Delete up to `at_most` rows that `which` holds for."""
    plain = table_of(table)
    keys = list(plain.primary_key.columns)
    some = sa.select(*keys).where(which).limit(at_most)
    result = session.connection().execute(sa.delete(plain).where(sa.tuple_(*keys).in_(some)))
    return max(0, result.rowcount)


def _drop_minutes(session: Session, before: float, oldest: float, at_most: int) -> int:
    minute, sample, series = TelemetryMinuteRow, TelemetrySampleRow, TelemetrySeriesRow
    waits = TelemetryPendingRow
    sampled = (
        sa.select(sample.device)
        .join(series, series.device == sample.device)
        .where(
            series.id == minute.series, minute.received_at >= sample.since, minute.received_at <= sample.until,
            minute.received_at >= oldest,
        )
        .exists()
    )  # fmt: skip
    waiting = sa.select(waits.series).where(
        waits.series == minute.series, waits.start == minute.start, waits.epoch == minute.epoch,
        waits.seq == minute.seq,
    )  # fmt: skip
    return _drop(session, minute, sa.and_(minute.received_at < before, ~sampled, ~waiting.exists()), at_most)


def _drop_buckets(session: Session, level: int, before: float, at_most: int) -> int:
    gone = 0
    for table in (TelemetryBucketRow, TelemetryFleetBucketRow):
        gone += _drop(session, table, sa.and_(table.level == level, table.received_last < before), at_most)
    # What went was received before then, so it began before then and as much as a clock may be ahead.
    forget_before(session, level, remembered_from(level, before))
    return gone


def remembered_from(level: int, before: float) -> int:
    """The first bucket of which nothing is gone when what was received before a time is, milliseconds since 1970."""
    return floor(level, int((before + NEWEST_S) * 1000)) + LENGTH_MS[level]


def _age_gauges(session: Session, level: int, into: int, before: float, at_most: int) -> int:
    """Join gauges of one level that were received before a time into buckets of the next."""
    row = TelemetryGaugeRow
    sample = TelemetrySampleRow
    sampled = (
        sa.select(sample.device)
        .where(sample.device == row.device, row.received_at >= sample.since, row.received_at <= sample.until)
        .exists()
    )
    query = sa.select(row.device, row.start, row.epoch, row.seq, row.received_at, row.body).where(
        row.level == level, row.received_at < before
    )
    if level == MINUTE:
        query = query.where(~sampled)
    old = session.execute(query.order_by(row.device, row.start).limit(at_most)).all()
    if not old:
        return 0
    found: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for one in old:
        found[one.device, floor(into, one.start)].append(one)
    for (device, start), ones in found.items():
        key = (device, into, start, 0, 0)
        sums = [gauges.unpack(level, one.body) for one in ones]
        there = session.get(row, key, with_for_update=True)
        received_at = max(one.received_at for one in ones)
        if there is None:
            session.add(row(
                device=device, level=into, start=start, epoch=0, seq=0, received_at=received_at,
                body=gauges.pack_sums(gauges.join(sums)),
            ))  # fmt: skip
        else:
            there.body = gauges.pack_sums(gauges.join([gauges.unpack(into, there.body), *sums]))
            there.received_at = max(received_at, there.received_at)
    keys = ("device", "start", "epoch", "seq")
    table = table_of(row)
    gone = sa.delete(table).where(table.c.level == level, *(table.c[k] == sa.bindparam(f"its_{k}") for k in keys))
    session.flush()
    session.connection().execute(gone, [{f"its_{k}": getattr(one, k) for k in keys} for one in old])
    return len(old)
