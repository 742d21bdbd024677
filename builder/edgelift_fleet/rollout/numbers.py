"""The numbers of rollouts: one is never used twice, also not by a site that was restored from a backup.

Devices remember for which rollout they took a release. Were a number used again after a restore, a device that took the same
release for the former bearer of it would have nothing new to say, and the rollout would wait for it in vain.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.tables import ControlRow, RolloutRow

_LEAST = "rollout-number"
#: Rollouts that a site may have begun since a backup: so many, and one a minute besides.
_SPARE = 100


def next_number(session: Session) -> int:
    """The number of a rollout that begins; inside a write transaction of the whole site."""
    highest = session.scalar(sa.select(sa.func.max(RolloutRow.number))) or 0
    row = session.get(ControlRow, _LEAST)
    return max(highest + 1, int(row.value) if row is not None and row.value.isdecimal() else 0)


def skip_numbers(session: Session, since_s: float) -> int:
    """Leave out what the site may have used in `since_s` seconds that it knows nothing of; returns the next number."""
    least = next_number(session) + _SPARE + int(max(0.0, since_s) // 60)
    session.merge(ControlRow(name=_LEAST, value=str(least)))
    return least
