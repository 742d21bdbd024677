"""What many devices hold together of a stretch of time: from what is remembered of a cohort, the rest one by one.

The answer is the same as if all were read one by one, whatever is remembered and whatever isn't.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among
from edgelift_fleet.tables import TelemetryFleetSeriesRow, TelemetrySeriesRow
from edgelift_fleet.telemetry.cohort_sums import gaps, remembered
from edgelift_fleet.telemetry.cohorts import MAX_STARTS, WORTH, AskedCohorts, KnownCohort, best_for, known_cohorts
from edgelift_fleet.telemetry.device_rows import bucket_rows, waiting
from edgelift_fleet.telemetry.ranges import LENGTH_MS, LevelSpan, floor
from edgelift_fleet.telemetry.series import OTHER
from edgelift_fleet.telemetry.sums import sum_as_read

_FLEET = TelemetrySeriesRow.fleet


@dataclass(frozen=True)
class Names:
    """Which series are wanted, by their words; an empty text is any."""

    model: str = ""
    version: str = ""
    hardware_class: str = ""

    def of(self, series: type[TelemetrySeriesRow] | type[TelemetryFleetSeriesRow]) -> list[Any]:
        """As conditions."""
        return [getattr(series, name) == value for name, value in vars(self).items() if value]


def rows_of_many(
    session: Session,
    members: frozenset[str],
    names: Names,
    parts: Sequence[LevelSpan],
    asked: AskedCohorts | None = None,
) -> list[Sequence[Any]]:
    """What devices hold by series of the fleet, of hours and days, windows that wait included.

    Args:
        session: for reading.
        members: the devices' ids.
        names: of which series.
        parts: the stretch, as `ranges.pieces` makes it of hours and days.
        asked: is told of devices whose sums are worth being remembered.
    """
    base = best_for(members, known_cohorts(session))
    reading = CohortReading(session, members, base, names)
    found = [row for piece in parts for row in reading.buckets(piece)]
    which = [*names.of(TelemetrySeriesRow), among(session, TelemetrySeriesRow.device, members)]
    for piece in parts:
        found += session.execute(waiting(_FLEET, piece, which, fleet=False)).all()
    if asked is not None and reading.read >= WORTH:
        asked.note(members, _first(parts))
    elif asked is not None and base is not None:
        asked.note(base.members, {})
    return found


def _first(parts: Sequence[LevelSpan]) -> dict[int, int]:
    """Level → from where on it is to be remembered: no more of it than there is room for."""
    found: dict[int, int] = {}
    now = int(time.time() * 1000)
    for level, most in MAX_STARTS.items():
        starts = [piece.start for piece in parts if piece.level == level]
        if starts:
            found[level] = max(min(starts), floor(level, now) - (most - 3) * LENGTH_MS[level])
    return found


class CohortReading:
    """Buckets of some devices, by what is remembered of a cohort within them.

    Attributes:
        read: buckets of single devices that had to be read.
    """

    def __init__(self, session: Session, members: frozenset[str], base: KnownCohort | None, names: Names) -> None:
        self._session, self._base, self._names = session, base, names
        known = base.members if base is not None else frozenset()
        self._known, self._rest = known, members - known
        self._series: frozenset[int] | None = None
        self._renamed: Sequence[int] = ()
        if any(vars(names).values()):
            self._series, self._renamed = _series(session, names)
        self.read = 0

    def buckets(self, piece: LevelSpan) -> Iterator[Sequence[Any]]:
        """Hours or days: rows as `sums.Buckets` takes them, by series of the fleet."""
        if self._base is not None:
            known = remembered(self._session, self._base.id, piece)
            for rows in known.values():
                yield from (row for row in rows if self._series is None or row.key in self._series)
            if self._renamed and known:
                # Summed under another name than the devices' own, by which they are asked for.
                those = among(self._session, _FLEET, self._renamed)
                yield from (row for row in self._one_by_one(self._known, piece, those) if row[1] in known)
            for gap in gaps(piece, known):
                yield from self._one_by_one(self._known, gap)
        if self._rest:
            yield from self._one_by_one(self._rest, piece)

    def _one_by_one(self, devices: frozenset[str], piece: LevelSpan, *more: Any) -> Sequence[Sequence[Any]]:
        which = [
            *self._names.of(TelemetrySeriesRow),
            among(self._session, TelemetrySeriesRow.device, devices),
            *more,
        ]
        return sum_as_read(self._counted(bucket_rows(self._session, _FLEET, which, piece)))

    def _counted(self, rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        for row in rows:
            self.read += 1
            yield row


def _series(session: Session, names: Names) -> tuple[frozenset[int], Sequence[int]]:
    """The fleet's series that bear these names, and those under which series of any name may be summed."""
    series = TelemetryFleetSeriesRow
    named = session.scalars(sa.select(series.id).where(series.model != OTHER, *names.of(series)))
    return frozenset(named), session.scalars(sa.select(series.id).where(series.model == OTHER)).all()
