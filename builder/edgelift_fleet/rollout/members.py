"""Whom a rollout has: the one place where that is asked, for its own looks and for others that must not have the same.

A selector is looked up again and again while the rollout goes on. What the rollout itself changes must not put a device
out of it: `runs:digits@1` means whom digits@2 is to reach, and a device that was reached runs it no longer. So of who was
reached, terms that an update changes are not asked again. With `late_joiners = "out"` only those are meant who were
selected at the start.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.cohorts import Member, select_ids, select_members
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.rollout.plan import StoredPlan
from edgelift_fleet.rows import read_row
from edgelift_fleet.selector import And, Not, Or, Tree, parse_selector
from edgelift_fleet.selector_terms import All, Fact, Runs
from edgelift_fleet.tables import RolloutDeviceRow, RolloutMemberRow, RolloutRow

#: Facts that an update of the device changes: what it downloads lies on its disk.
_MOVING = ("disk_free_bytes",)


def members_of(session: Session, row: RolloutRow, seen: LastSeen, now: float) -> list[Member]:
    """The devices that a rollout has, by id. Raises ContractError `bad-id`."""
    found = select_members(session, row.selector, seen, now)
    if (stays := loosened(parse_selector(row.selector))) is not None:
        reached, ids = _reached(session, row.number), {one.device for one in found}
        kept = select_members(session, stays, seen, now)
        found = sorted([*found, *(one for one in kept if one.device in reached - ids)], key=lambda one: one.device)
    at_the_start = _at_the_start(session, row)
    return found if at_the_start is None else [one for one in found if one.device in at_the_start]


def ids_of(session: Session, row: RolloutRow) -> set[str]:
    """The ids of the same devices. Raises ContractError `bad-id`."""
    found = set(select_ids(session, row.selector))
    if (stays := loosened(parse_selector(row.selector))) is not None:
        found |= _reached(session, row.number).intersection(select_ids(session, stays))
    at_the_start = _at_the_start(session, row)
    return found if at_the_start is None else found & at_the_start


def loosened(tree: Tree) -> Tree | None:
    """The selector without what an update changes: it means whoever the rest of it means. None where nothing is changed."""
    made = _loosened(tree, wanted=True)
    return made if made != tree else None


def _loosened(tree: Tree, *, wanted: bool) -> Tree:
    match tree:
        case Not(of):
            return Not(_loosened(of, wanted=not wanted))
        case And(parts):
            return And(tuple(_loosened(part, wanted=wanted) for part in parts))
        case Or(parts):
            return Or(tuple(_loosened(part, wanted=wanted) for part in parts))
        case Runs():
            return All() if wanted else Not(All())
        case Fact(name) if name in _MOVING:
            return All() if wanted else Not(All())
    return tree


def _reached(session: Session, number: int) -> set[str]:
    return set(session.scalars(sa.select(RolloutDeviceRow.device).filter_by(rollout=number)))


def _at_the_start(session: Session, row: RolloutRow) -> set[str] | None:
    """Who was selected when it began, where nobody else is taken in."""
    kept = read_row(row.plan, StoredPlan, owner=f"r{row.number}", what="plan", into=[])
    if kept is None or kept.late_joiners == "in":  # a plan that can't be read bounds nobody
        return None
    return set(session.scalars(sa.select(RolloutMemberRow.device).filter_by(rollout=row.number)))
