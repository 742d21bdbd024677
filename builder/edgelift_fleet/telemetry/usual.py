"""How fast devices answer now, against what is usual for each of them: its own hours before, of the same artifact.

A device is held against itself alone: boards of one class differ by their case, their supply and what else they do.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among
from edgelift_fleet.tables import TelemetrySeriesRow
from edgelift_fleet.telemetry.device_rows import device_rows
from edgelift_fleet.telemetry.ranges import HOUR, MINUTE, floor, pieces
from edgelift_fleet.telemetry.sums import Buckets, Sum, numbered

#: What counts as now, and what before it is usual, seconds.
NOW_S, USUAL_S = 900.0, 86400.0
#: Requests from which on a quantile at 95 % says something: its rank has twenty above and below (binomial, 100 draws).
LEAST = 100


class Pace(NamedTuple):
    """Of one slot: p95 now and usually, microseconds; 0 where too few requests came. `errors` and `requests` are now's."""

    slot: str
    artifact: str
    now_us: float
    usual_us: float
    requests: int
    errors: int

    @property
    def change(self) -> float | None:
        """By which share it is slower now; None where that can't be said."""
        return self.now_us / self.usual_us - 1 if self.now_us and self.usual_us else None


def paces(session: Session, devices: Collection[str], now: float) -> dict[str, list[Pace]]:
    """Each device's paces by slot and artifact, in a fixed number of statements; devices that served nothing lately are
    left out.

    Args:
        session: for reading.
        devices: ids.
        now: seconds since 1970.
    """
    split, series = int((now - NOW_S) * 1000), TelemetrySeriesRow
    which = [among(session, series.device, devices), sa.not_(series.probation)]
    # Whole hours by their sums, and what came since the last one began minute by minute: none of it is now's.
    hours = pieces(floor(HOUR, int((now - USUAL_S) * 1000)), split, finest=MINUTE, coarsest=HOUR)
    minutes = pieces(split, int((now + 60) * 1000), finest=MINUTE, coarsest=MINUTE)
    earlier = ((("usual", row[0]), *row[1:]) for row in device_rows(session, series.id, which, hours))
    lately = ((("now", row[0]), *row[1:]) for row in device_rows(session, series.id, which, minutes))
    buckets = Buckets(chain(earlier, lately))
    names = _names(session, {key[1] for key in buckets.keys})
    keys, groups = numbered([(*names[key[1]], key[0]) for key in buckets.keys])
    sums = dict(zip(keys, buckets.sums(groups, len(keys), ["total"]), strict=True))
    found: dict[str, list[Pace]] = {}
    for (device, slot, artifact, part), one in sums.items():
        if part != "now" or not one.ok + one.errors:
            continue
        usual = sums.get((device, slot, artifact, "usual"))
        pace = Pace(slot, artifact, _p95(one), _p95(usual) if usual else 0.0, one.ok + one.errors, one.errors)
        found.setdefault(device, []).append(pace)
    return found


def _p95(one: Sum) -> float:
    total = one.phases.get("total")
    return float(total.p95_us) if total is not None and total.count >= LEAST else 0.0


def _names(session: Session, keys: Collection[int]) -> dict[int, tuple[str, str, str]]:
    series = TelemetrySeriesRow
    query = sa.select(series.id, series.device, series.slot, series.artifact).where(
        among(session, series.id, keys)
    )
    return {key: (device, slot, artifact) for key, device, slot, artifact in session.execute(query)}
