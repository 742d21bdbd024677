"""Sums of cohorts, made before they are asked for again: in the background, newest first, a slice at a time.

A slice is read without holding anybody up, and written only if no bucket changed meanwhile; what is there from then on
is kept exact by whoever changes a bucket (`cohort_sums`). Each also reaches an hour ahead, as far as a board's clock may,
so that an hour or a day that begins is there already.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import ROWS, Scope, insert_new
from edgelift_fleet.tables import TelemetryCohortRow, TelemetryCohortSumRow
from edgelift_fleet.telemetry.cohort_sums import pack_sum
from edgelift_fleet.telemetry.cohorts import (
    KEPT_S,
    MAX_COHORTS,
    MAX_STARTS,
    AskedCohorts,
    KnownCohort,
    best_for,
    changes,
    known_cohorts,
    let_go,
    mark_changed,
)
from edgelift_fleet.telemetry.ranges import DAY, HOUR, LENGTH_MS, NEWEST_S, LevelSpan, floor
from edgelift_fleet.telemetry.reading import CohortReading, Names
from edgelift_fleet.telemetry.retention import Ages, remembered_from
from edgelift_fleet.telemetry.sums import Row, sum_rows

_Write = Callable[[Scope], AbstractContextManager[Session]]
#: Buckets of single devices that a slice reads, about: a fifth of a second.
_SLICE = 20_000


class _Slice(NamedTuple):
    """What is made together: neighbouring buckets of a cohort of which nothing is remembered."""

    cohort: KnownCohort
    piece: LevelSpan


class Warming:
    """Makes what is wanted. One thread of the server that leads calls `make_some`, any server's `note`."""

    def __init__(
        self, read: Callable[[], AbstractContextManager[Session]], write: _Write, note: _Write, ages: Ages,
        asked: AskedCohorts,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            read: a session for reading, as `Database.read`.
            write: a write transaction of the server that leads, as `Lead.write`.
            note: one of any server, as `Database.write`.
            ages: how long what is kept.
            asked: what was asked for here.
        """
        self._read, self._write, self._note, self._ages, self._asked = read, write, note, ages, asked

    def note(self, now: float) -> bool:
        """Write what was asked for; whether there was anything."""
        if not self._asked.waits():
            return False
        with self._note(ROWS) as session:
            self._asked.write(session, now)
        return True

    def make_some(self, now: float) -> bool:
        """Make one slice of what is wanted and not there.

        Returns:
            Whether there was something to do: call again. A slice that was overtaken by a change of buckets counts as well.
        """
        with self._read() as session:
            since, cohorts = changes(session), known_cohorts(session)
            if len(cohorts) > MAX_COHORTS or any(now - one.asked_at > KEPT_S for one in cohorts):
                found = None
            else:
                found = self._next(session, cohorts, now)
                if found is None and all(one.ready_at for one in cohorts):
                    return False
                made = self._made(session, found, cohorts) if found is not None else []
        with self._write(ROWS) as session:
            if not mark_changed(session, since):
                return True
            if found is not None:
                insert_new(session, TelemetryCohortSumRow, made)
            elif not let_go(session, now):
                row = TelemetryCohortRow
                session.execute(sa.update(row).where(row.ready_at == 0).values(ready_at=now))
        return True

    def _next(self, session: Session, cohorts: list[KnownCohort], now: float) -> _Slice | None:
        for cohort in cohorts:
            for level, start, age in (
                (DAY, cohort.days_from, self._ages.days), (HOUR, cohort.hours_from, self._ages.hours)
            ):  # fmt: skip
                wanted = self._wanted(level, start, age, now) if start else range(0)
                row = TelemetryCohortSumRow
                here = sa.select(row.start).where(row.cohort == cohort.id, row.level == level)
                missing = sorted(set(wanted) - set(session.scalars(here)))
                if missing:
                    return _Slice(cohort, _newest(level, missing, max(1, _SLICE // len(cohort.members))))
        return None

    def _wanted(self, level: int, start: int, age: float, now: float) -> range:
        last = floor(level, int((now + NEWEST_S) * 1000)) + LENGTH_MS[level]
        first = max(floor(level, start), last - MAX_STARTS[level] * LENGTH_MS[level])
        if age:
            first = max(first, remembered_from(level, now - age * 86400))
        return range(first, last, LENGTH_MS[level])

    def _made(self, session: Session, found: _Slice, cohorts: list[KnownCohort]) -> list[dict[str, Any]]:
        cohort, piece = found
        others = [one for one in cohorts if one.id != cohort.id and one.ready_at]
        reading = CohortReading(session, cohort.members, best_for(cohort.members, others), Names())
        by_start: dict[int, list[Row]] = {
            start: [] for start in range(piece.start, piece.stop, LENGTH_MS[piece.level])
        }
        for row in sum_rows(reading.buckets(piece)):
            by_start[row.start].append(row)
        key = {"cohort": cohort.id, "level": piece.level}
        # What can't be stored leaves an empty body: it is read afresh each time, and not made again and again.
        return [{**key, "start": start, "body": pack_sum(rows) or b""} for start, rows in by_start.items()]


def _newest(level: int, missing: list[int], most: int) -> LevelSpan:
    """The newest of the missing starts and those before it, while they are neighbours."""
    stop = start = missing[-1] + LENGTH_MS[level]
    for one in reversed(missing[-most:]):
        if one != start - LENGTH_MS[level]:
            break
        start = one
    return LevelSpan(level, start, stop)
