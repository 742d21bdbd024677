"""Windows that wait, summed into their hour and their day: of their device's series, of the fleet's, and of cohorts'.

In small transactions, so that no report waits long. A window is taken out of `telemetry_pending` in the transaction
that sums it, so it counts once whatever stops or runs beside this; until then readers add it themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.db import by_keys, insert_rows
from edgelift_fleet.tables import (
    TelemetryBucketRow,
    TelemetryFleetBucketRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
    table_of,
)
from edgelift_fleet.telemetry.cohort_sums import Added, add_to_cohorts
from edgelift_fleet.telemetry.cohorts import mark_changed
from edgelift_fleet.telemetry.joining import join, join_by
from edgelift_fleet.telemetry.packing import STORED, Part, by_phase, pack_parts
from edgelift_fleet.telemetry.ranges import DAY, HOUR, floor
from edgelift_fleet.telemetry.sums import Row

#: Windows in one transaction: well under a tenth of a second.
AT_ONCE = 2000


class BucketKey(NamedTuple):
    """Which bucket."""

    series: int
    level: int
    start: int


@dataclass
class Bucket:
    """What a bucket's row holds; see `tables.TelemetryBucketRow`. `bodies` are joined when it is written."""

    first: int
    last: int
    received_at: float
    received_last: float
    windows: int
    ok: int
    errors: int
    bodies: list[bytes]

    def add(self, other: Bucket) -> None:
        """Count `other` in."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.received_at = min(self.received_at, other.received_at)
        self.received_last = max(self.received_last, other.received_last)
        self.windows += other.windows
        self.ok = min(self.ok + other.ok, _FULL)
        self.errors = min(self.errors + other.errors, _FULL)
        self.bodies += other.bodies

    def as_row(self, series: int, start: int) -> Row:
        """As `sums` takes it."""
        return Row(
            series, start, self.windows, self.ok, self.errors, self.first, self.last, join_bodies(self.bodies)
        )

    def row(self, key: BucketKey) -> dict[str, Any]:
        """As it is written."""
        values = {name: getattr(self, name) for name in _SUMS}
        return {**key._asdict(), **values, "body": join_bodies(self.bodies)}


_SUMS = ("first", "last", "received_at", "received_last", "windows", "ok", "errors")
#: Sums end here, whatever devices claim: the largest number that the tables and JSON's readers hold to the unit.
_FULL = 2**53


def join_bodies(bodies: Sequence[bytes]) -> bytes:
    """Several bodies as one, phase by phase."""
    if len(bodies) == 1:
        return bodies[0]
    return pack_parts({phase: join(parts) for phase, parts in by_phase(bodies).items()})


def _join(buckets: Iterable[Bucket]) -> None:
    """Make of each bucket's bodies one, as `join_bodies` does, all together by a few calls of numpy."""
    several = [bucket for bucket in buckets if len(bucket.bodies) > 1]
    found: list[dict[LatencyPhase, Part]] = [{} for _ in several]
    read = [by_phase(bucket.bodies) for bucket in several]
    for phase in STORED:
        mine = [number for number, one in enumerate(read) if phase in one]
        groups = [group for group, number in enumerate(mine) for _ in read[number][phase]]
        parts = [part for number in mine for part in read[number][phase]]
        for number, part in zip(mine, join_by(groups, parts, len(mine)) if parts else (), strict=True):
            found[number][phase] = part
    for bucket, made in zip(several, found, strict=True):
        bucket.bodies = [pack_parts(made)]


def fold(session: Session, *, at_most: int = AT_ONCE) -> int:
    """Sum up to `at_most` windows that wait; returns how many there were. Inside a write transaction."""
    mark_changed(session)
    waiting = _claim(session, at_most)
    if not waiting:
        return 0
    hours: dict[BucketKey, Bucket] = {}
    of_fleet = {window.series: window.fleet for window in waiting}
    device_of = {window.series: window.device for window in waiting}
    for window in waiting:
        _count_in(hours, BucketKey(window.series, HOUR, floor(HOUR, window.start)), _bucket(window))
    _join(hours.values())
    # What was summed once is summed on: a window's own histograms are read only for its device's hour.
    fleet: dict[BucketKey, Bucket] = {}
    for key, bucket in hours.items():
        _count_in(fleet, key._replace(series=of_fleet[key.series]), bucket)
    devices = hours | _days(hours)
    add_to_cohorts(session, [
        Added(device_of[key.series], key.level, bucket.as_row(of_fleet[key.series], key.start))
        for key, bucket in devices.items()
    ])  # fmt: skip
    fleet |= _days(fleet)
    _write(session, TelemetryBucketRow, devices)
    _write(session, TelemetryFleetBucketRow, fleet)
    return len(waiting)


def _days(hours: Mapping[BucketKey, Bucket]) -> dict[BucketKey, Bucket]:
    days: dict[BucketKey, Bucket] = {}
    for key, bucket in hours.items():
        _count_in(days, key._replace(level=DAY, start=floor(DAY, key.start)), bucket)
    return days


def _bucket(window: Any) -> Bucket:
    at = window.received_at
    return Bucket(window.start, window.stop, at, at, 1, window.ok, window.errors, [window.body])


def _count_in(buckets: dict[BucketKey, Bucket], key: BucketKey, more: Bucket) -> None:
    """Count `more` in, which stays as it is."""
    if key in buckets:
        buckets[key].add(more)
    else:
        buckets[key] = replace(more, bodies=list(more.bodies))


def _claim(session: Session, at_most: int) -> Sequence[Any]:
    """Windows that wait, taken out of the queue."""
    waits, minute, series = TelemetryPendingRow, TelemetryMinuteRow, TelemetrySeriesRow
    keys = (waits.series, waits.start, waits.epoch, waits.seq)
    some = sa.select(*keys).order_by(*keys).limit(at_most).with_for_update(skip_locked=True).subquery()
    query = (
        sa.select(
            minute.series, minute.start, minute.epoch, minute.seq, minute.stop, minute.received_at, minute.ok,
            minute.errors, minute.body, series.fleet, series.device,
        )
        .join_from(some, minute, sa.and_(*(some.c[k.key] == getattr(minute, k.key) for k in keys)))
        .join(series, series.id == minute.series)
    )  # fmt: skip
    found = session.execute(query).all()
    if found:
        table = table_of(TelemetryPendingRow)
        gone = sa.delete(table).where(*(table.c[k.key] == sa.bindparam(f"its_{k.key}") for k in keys))
        session.connection().execute(gone, [{f"its_{k.key}": getattr(w, k.key) for k in keys} for w in found])
    return found


_Table = type[TelemetryBucketRow] | type[TelemetryFleetBucketRow]


def _write(session: Session, table: _Table, buckets: Mapping[BucketKey, Bucket]) -> None:
    """Add buckets to those that are stored."""
    columns = [getattr(table, name) for name in (*BucketKey._fields, *_SUMS, "body")]
    query = by_keys(session, sa.select(*columns), (table.series, table.level, table.start), sorted(buckets))
    changed = []
    for row in session.execute(query.with_for_update(of=table)):
        bucket = buckets[BucketKey(row.series, row.level, row.start)]
        bucket.add(Bucket(**{name: getattr(row, name) for name in _SUMS}, bodies=[row.body]))
        changed.append(BucketKey(row.series, row.level, row.start))
    _join(buckets.values())
    new = sorted(set(buckets) - set(changed))
    plain = table_of(table)
    if changed:
        rows = [{f"new_{name}": value for name, value in buckets[k].row(k).items()} for k in sorted(changed)]
        where = [plain.c[name] == sa.bindparam(f"new_{name}") for name in BucketKey._fields]
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in (*_SUMS, "body")}
        session.connection().execute(sa.update(plain).where(*where).values(values), rows)
    insert_rows(session, table, [buckets[k].row(k) for k in new])
