"""A device belongs to one open rollout of a slot: starting a second one over it is refused, and so is tagging it into two.

What a device says of its own tags is its own claim and refused to nobody: the rollout that has it keeps it, and the other
one says so (`observe.cohort_of`).
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.members import ids_of
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.tables import RolloutRow


def refuse_second(session: Session, slot: str, cohort: Collection[str], *, but: int = 0) -> None:
    """Nothing, if no open rollout of the slot has one of these devices; `but` is a rollout that may.

    Raises:
        ContractError: `conflict`, naming the rollout and the devices.
    """
    for row in _open(session):
        if row.slot != slot or row.number == but:
            continue
        shared = sorted(set(cohort) & ids_of(session, row))
        if shared:
            name, more = rollout_id(row.number), f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise ContractError(
                "conflict",
                f"The rollout {name} of {row.model}@{row.version} is {row.state} on the same slot of {shared[0]}{more}.",
                hint=f"Wait for it, or: edgelift rollout cancel {name}.",
            )


def open_rollouts_of(session: Session, device: str) -> dict[str, list[str]]:
    """Slot → the open rollouts that select a device."""
    found: dict[str, list[str]] = {}
    for row in _open(session):
        if device in ids_of(session, row):
            found.setdefault(row.slot, []).append(rollout_id(row.number))
    return found


def refuse_clash(session: Session, device: str, before: dict[str, list[str]]) -> None:
    """Nothing, if a change of tags left a device in one open rollout of each slot at most, as `before` it or better.

    Raises:
        ContractError: `conflict`, naming slot and rollouts; to be raised out of the transaction that changes the tags.
    """
    for slot, rollouts in open_rollouts_of(session, device).items():
        if len(rollouts) > 1 and len(before.get(slot, ())) < len(rollouts):
            raise ContractError(
                "conflict",
                f"With these tags {device} would be in {len(rollouts)} rollouts of the slot {slot!r} at once: "
                f"{', '.join(rollouts)}.",
                hint=f"Wait for one to end, or: edgelift rollout cancel {rollouts[-1]}.",
            )


def _open(session: Session) -> list[RolloutRow]:
    query = sa.select(RolloutRow).where(RolloutRow.state.not_in(TERMINAL)).order_by(RolloutRow.number)
    return list(session.scalars(query))
