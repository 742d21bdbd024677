"""What the gate of a rollout's current wave came to so far, read from the looks that it took."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.rollout.situation import GateSeen
from edgelift_fleet.tables import RolloutLookRow, RolloutRow, RolloutWaveRow


def gate_of(session: Session, row: RolloutRow) -> GateSeen | None:
    """The gate of the current wave, in one statement; None where the plan asked for none."""
    of_wave = sa.and_(RolloutLookRow.rollout == RolloutWaveRow.rollout, RolloutLookRow.wave == RolloutWaveRow.wave)
    query = sa.select(
        RolloutWaveRow.alpha,
        RolloutWaveRow.overruled,
        RolloutLookRow.number,
        RolloutLookRow.breach,
        RolloutLookRow.text,
        RolloutLookRow.unmeasured,
    )
    query = query.outerjoin(RolloutLookRow, of_wave).filter(
        RolloutWaveRow.rollout == row.number, RolloutWaveRow.wave == row.wave
    )
    newest = session.execute(query.order_by(RolloutLookRow.number.desc()).limit(1)).first()
    if newest is None:
        return None
    tested = newest.alpha > 0 and not newest.overruled
    if newest.number is None:
        return GateSeen(tested)
    breach = newest.breach and not newest.overruled
    return GateSeen(tested, newest.number, breach, newest.text, newest.unmeasured)


@dataclass(frozen=True)
class WaveWatch:
    """How a wave is watched: its part of the rollout's false alarms (0: it can't be compared), and whether a person went on
    in spite of what was found.
    """

    alpha: float
    overruled: bool


def watches(session: Session, row: RolloutRow) -> dict[int, WaveWatch]:
    """Wave, from 0, → how it is watched, of those that began under a gate; one statement."""
    kept = RolloutWaveRow
    query = sa.select(kept.wave, kept.alpha, kept.overruled).where(kept.rollout == row.number)
    return {wave: WaveWatch(alpha, overruled) for wave, alpha, overruled in session.execute(query)}
