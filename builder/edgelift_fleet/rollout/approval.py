"""Which wave an approval is for, so that of two persons who approve the same wave none approves the next one unseen.

Without a number it is the wave that waits for a person now; before it waits, or another one, it is named.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Hold
from edgelift_fleet.rollout.observe import look, plan_of, rollout_id
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rows import UnreadableRow
from edgelift_fleet.tables import RolloutRow


def wave_to_approve(session: Session, row: RolloutRow, named: int, seen: LastSeen, now: float) -> int:
    """The wave that a person's approval lets begin.

    Args:
        session: of a transaction.
        row: the rollout.
        named: the wave that the person names, from 1; 0 for the one that waits.
        seen: when devices were last heard of.
        now: seconds since 1970.

    Returns:
        Its number, from 1.

    Raises:
        ContractError: `conflict` when the plan asks for no approval, nothing waits for one, or the wave that is named has
            begun, is approved or is none of the plan's.
    """
    name = rollout_id(row.number)
    try:
        plan = plan_of(row)
        if not plan.approval:
            raise ContractError(
                "conflict", f"The plan of the rollout {name} asks for no approval: it goes on by itself."
            )
        wave = named or _waiting(session, row, plan, seen, now)
    except UnreadableRow as error:
        raise ContractError(
            "conflict", f"The rollout {name} goes nowhere: {error.message}", hint=error.hint
        ) from None
    if not wave:
        raise _nothing_waits(row, plan, name)
    if wave > len(plan.waves):
        raise ContractError("conflict", f"The rollout {name} has {len(plan.waves)} waves, and no wave {wave}.")
    if wave <= row.wave + 1:
        raise ContractError("conflict", f"Wave {wave} of the rollout {name} has begun.")
    if wave <= row.approved:
        why = "needs no approval" if wave == 1 else "is approved"
        raise ContractError("conflict", f"Wave {wave} of the rollout {name} {why}.")
    return wave


def _nothing_waits(row: RolloutRow, plan: Plan, name: str) -> ContractError:
    following = max(row.approved, row.wave + 1) + 1
    hint = ""
    if following <= len(plan.waves):
        hint = f"To approve wave {following} before it waits: edgelift rollout approve {name} --wave {following}."
    return ContractError("conflict", f"No wave of the rollout {name} waits for approval: {row.reason}", hint=hint)


def _waiting(session: Session, row: RolloutRow, plan: Plan, seen: LastSeen, now: float) -> int:
    """The wave that would begin now if it were approved, from 1; 0 for none. Of one that is paused, as if it went on."""
    observed = look(session, row, seen, now)[1]
    decision = decide(plan, replace(observed, state="running"), now)
    return decision.approval if isinstance(decision, Hold) else 0
