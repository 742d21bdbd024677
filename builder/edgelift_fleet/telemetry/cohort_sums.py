"""What cohorts' devices hold together of hours and days: one row for each, kept exact by whoever changes a bucket.

Law: a row that is there says what summing its devices' buckets in the same transaction would say. So what is added to
buckets is added to it in the same transaction (`add_to_cohorts`), and what can't be taken out of a sum again, a bucket
that goes, takes the row with it (`forget_of`, `forget_before`); it is summed afresh when it is wanted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import by_keys
from edgelift_fleet.tables import TelemetryCohortRow, TelemetryCohortSumRow, table_of
from edgelift_fleet.telemetry.cohorts import KnownCohort, known_cohorts
from edgelift_fleet.telemetry.packing import can_read
from edgelift_fleet.telemetry.ranges import LENGTH_MS, LevelSpan
from edgelift_fleet.telemetry.sums import Row, sum_rows

#: Rows that one transaction adds to; beyond that they are forgotten, and summed afresh when they are wanted: windows of
#: many hours that come at once must not hold up what else is written.
MAX_ADDED = 256
#: Whatever devices claim, a number beyond it can't be stored: such a sum is never remembered.
_LARGEST = 2**63 - 1


class Added(NamedTuple):
    """What is being added to a device's bucket; `row.key` is the series of the fleet."""

    device: str
    level: int
    row: Row


class _Key(NamedTuple):
    cohort: int
    level: int
    start: int


_Body = list[tuple[int, int, int, int, int, int, bytes]]
_decoder = msgspec.msgpack.Decoder(_Body)
_encoder = msgspec.msgpack.Encoder()


def is_whole(body: bytes) -> bool:
    """Can a sum be read?"""
    return can_read(_decoder, body)


def pack_sum(rows: Iterable[Row]) -> bytes | None:
    """A bucket's sums by series of the fleet as a body; None for what can't be stored."""
    made = [(row.key, row.windows, row.ok, row.errors, row.first, row.last, row.body) for row in rows]
    if any(max(one[1:6]) > _LARGEST for one in made):
        return None
    return _encoder.encode(made)


def unpack_sum(start: int, body: bytes) -> list[Row] | None:
    """The sums of a body by series of the fleet; None for one that can't be read."""
    try:
        return [Row(one[0], start, *one[1:]) for one in _decoder.decode(body)]
    except msgspec.MsgspecError:
        return None


def remembered(session: Session, cohort: int, piece: LevelSpan) -> dict[int, list[Row]]:
    """Start → what the cohort's devices hold together, by series of the fleet, of those buckets that are remembered."""
    row = TelemetryCohortSumRow
    query = sa.select(row.start, row.body).where(
        row.cohort == cohort, row.level == piece.level, row.start >= piece.start, row.start < piece.stop
    )
    read = ((start, unpack_sum(start, body)) for start, body in session.execute(query))
    return {start: rows for start, rows in read if rows is not None}


def gaps(piece: LevelSpan, known: Collection[int]) -> Iterator[LevelSpan]:
    """What of a piece is not among the starts that are known."""
    begin = piece.start
    for start in sorted(known):
        if start > begin:
            yield piece._replace(start=begin, stop=start)
        begin = start + LENGTH_MS[piece.level]
    if begin < piece.stop:
        yield piece._replace(start=begin)


def add_to_cohorts(session: Session, added: Sequence[Added]) -> None:
    """Add to what is remembered what is being added to devices' buckets.

    Inside a write transaction that began with `cohorts.mark_changed`.
    """
    stored = _stored(session, sorted({(one.level, one.row.start) for one in added}))
    if not stored:
        return
    cohorts = known_cohorts(session)
    known = {one.id for one in cohorts}
    alike = _by_cohorts(added, cohorts)
    changed: dict[_Key, list[Row]] = {}
    broken: list[_Key] = []
    for key, body in stored:
        more = [
            row
            for (ids, level, start), rows in alike.items()
            if key[1:] == (level, start) and key.cohort in ids
            for row in rows
        ]
        if key.cohort not in known:
            broken.append(key)  # whose members can't be read: whether it counts any of this can't be told
        elif more:
            read = unpack_sum(key.start, body)
            if read is None or len(changed) == MAX_ADDED:
                broken.append(key)
            else:
                changed[key] = read + more
    _forget(session, broken)
    _update(session, changed)


def _stored(session: Session, touched: Sequence[tuple[int, int]]) -> list[tuple[_Key, bytes]]:
    """Rows of these buckets, the newest first."""
    row = TelemetryCohortSumRow
    ids = session.scalars(sa.select(TelemetryCohortRow.id)).all()
    keys = [(number, *bucket) for number in ids for bucket in touched]
    query = by_keys(
        session, sa.select(row.cohort, row.level, row.start, row.body), (row.cohort, row.level, row.start), keys
    )
    query = query.order_by(row.start.desc(), row.level, row.cohort)
    return [(_Key(*key), body) for *key, body in session.execute(query)]


def _by_cohorts(
    added: Sequence[Added], cohorts: Sequence[KnownCohort]
) -> Mapping[tuple[frozenset[int], int, int], list[Row]]:
    """What is added, summed over all devices that are members of the same cohorts: whose, level, start → by series."""
    whose = {
        device: frozenset(one.id for one in cohorts if device in one.members)
        for device in {one.device for one in added}
    }
    summed = sum_rows(
        one.row._replace(key=(whose[one.device], one.level, one.row.key)) for one in added if whose[one.device]
    )
    found: dict[tuple[frozenset[int], int, int], list[Row]] = defaultdict(list)
    for row in summed:
        ids, level, series = row.key
        found[ids, level, row.start].append(row._replace(key=series))
    return found


def _update(session: Session, changed: Mapping[_Key, Sequence[Row]]) -> None:
    by_key: dict[_Key, list[Row]] = {key: [] for key in changed}
    for row in sum_rows(one._replace(key=(key, one.key)) for key, rows in changed.items() for one in rows):
        key, series = row.key
        by_key[key].append(row._replace(key=series))
    packed = {key: pack_sum(rows) for key, rows in by_key.items()}
    _forget(session, [key for key, body in packed.items() if body is None])
    table = table_of(TelemetryCohortSumRow)
    rows = [{**_named(key), "new_body": body} for key, body in sorted(packed.items()) if body is not None]
    if rows:
        update = sa.update(table).where(*_is(table)).values(body=sa.bindparam("new_body"))
        session.connection().execute(update, rows)


def _forget(session: Session, keys: Sequence[_Key]) -> None:
    if keys:
        table = table_of(TelemetryCohortSumRow)
        session.connection().execute(sa.delete(table).where(*_is(table)), [_named(key) for key in sorted(keys)])


def _named(key: _Key) -> dict[str, int]:
    return {f"its_{name}": value for name, value in key._asdict().items()}


def _is(table: sa.Table) -> list[Any]:
    return [table.c[name] == sa.bindparam(f"its_{name}") for name in _Key._fields]


def forget_of(session: Session, device: str, buckets: Iterable[tuple[int, int]]) -> None:
    """Forget what counts buckets of a device that go; (level, start) of each. Transaction as `add_to_cohorts`."""
    wanted = sorted(set(buckets))
    others = {one.id for one in known_cohorts(session) if device not in one.members}
    ids = [number for number in session.scalars(sa.select(TelemetryCohortRow.id)) if number not in others]
    _forget(session, [_Key(number, *bucket) for number in ids for bucket in wanted])


def forget_before(session: Session, level: int, before_ms: int) -> None:
    """Forget what began before a time. Transaction as `add_to_cohorts`."""
    row = TelemetryCohortSumRow
    session.execute(sa.delete(row).where(row.level == level, row.start < before_ms))
