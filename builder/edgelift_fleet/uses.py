"""What names a release: who has it, should have it, or would go back to it. By a fixed number of statements.

A release that anything names is not deleted: its devices would be told to fetch what is nowhere. What is asked of JSON is
asked twice: the database finds the rows that may hold the release's name, and each of them is read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_fleet.messages import ReleaseUses
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import AssignmentRow, ReleaseRow, RolloutDeviceRow, RolloutRow, SlotStateRow

#: Devices and rollouts that are named; how many there are is always told.
MAX_NAMED = 1000
#: … in a sentence.
_IN_WORDS = 5


def release_uses(session: Session, release: ReleaseRow) -> ReleaseUses:
    """What names a release, as it stands now."""
    open_ones = sa.select(RolloutRow.number, RolloutRow.state).where(
        RolloutRow.model == release.model, RolloutRow.version == release.version, RolloutRow.state.not_in(TERMINAL)
    )
    serving = sa.select(SlotStateRow.device).distinct().where(
        SlotStateRow.model == release.model, SlotStateRow.version == release.version, SlotStateRow.artifact != ""
    )  # fmt: skip
    found: dict[str, list[str]] = {
        "assigned": _assigned(session, release),
        "rollouts": [
            f"{rollout_id(number)} ({state})"
            for number, state in session.execute(open_ones.order_by(RolloutRow.number))
        ],
        "going_back": _going_back(session, release),
        "serving": sorted(session.scalars(serving)),
    }
    return ReleaseUses(
        **{kind: names[:MAX_NAMED] for kind, names in found.items()},
        counts={kind: len(names) for kind, names in found.items() if names},
    )


def in_words(uses: ReleaseUses) -> str:
    """The same as the second half of a sentence; empty when nothing names it. Pure."""
    counts = uses.counts
    parts = []
    if uses.assigned:
        parts.append(f"it is assigned to {_named(uses.assigned, counts['assigned'], 'device')}")
    if uses.rollouts:
        parts.append(f"it is rolled out by {_named(uses.rollouts, counts['rollouts'], 'rollout')}")
    if uses.going_back:
        parts.append(f"a rollback would take back to it {_named(uses.going_back, counts['going_back'], 'device')}")
    if uses.serving:
        parts.append(f"it serves on {_named(uses.serving, counts['serving'], 'device')}")
    return "; ".join(parts)


def _named(names: list[str], number: int, what: str) -> str:
    shown = ", ".join(names[:_IN_WORDS])
    more = f" and {number - _IN_WORDS} more" if number > _IN_WORDS else ""
    return f"{number} {what}{'s' if number > 1 else ''} ({shown}{more})"


def _may_name(column: Any, release: ReleaseRow) -> sa.ColumnElement[bool]:
    """Does the JSON in this column hold the model and the version, perhaps of two slots?"""
    model, version = (codec.canonical_json(text).decode() for text in (release.model, release.version))
    return sa.and_(
        sa.func.replace(column, f'"model":{model}', "") != column,
        sa.func.replace(column, f'"version":{version}', "") != column,
    )


def _names(slots: Iterable[SlotAssignment], release: ReleaseRow) -> bool:
    return any((slot.model, slot.version) == (release.model, release.version) for slot in slots)


def _assigned(session: Session, release: ReleaseRow) -> list[str]:
    query = sa.select(AssignmentRow.device, AssignmentRow.body).where(_may_name(AssignmentRow.body, release))
    found = []
    for device, body in session.execute(query.order_by(AssignmentRow.device)):
        assigned = read_row(body, Assignment, owner=device, what="assignment", into=[])
        if assigned is None or _names(assigned.slots.values(), release):  # one that can't be read may well name it
            found.append(device)
    return found


def _going_back(session: Session, release: ReleaseRow) -> list[str]:
    """`pi-1 (r7)`: devices that would have it again if that rollout were rolled back."""
    query = sa.select(
        RolloutDeviceRow.device, RolloutDeviceRow.rollout, RolloutDeviceRow.artifact, RolloutDeviceRow.previous,
        RolloutRow.state, RolloutRow.slot, AssignmentRow.body,
    ).join(RolloutRow, RolloutRow.number == RolloutDeviceRow.rollout)  # fmt: skip
    query = query.outerjoin(AssignmentRow, AssignmentRow.device == RolloutDeviceRow.device)
    query = query.where(_may_name(RolloutDeviceRow.previous, release))
    assigned: dict[str, Mapping[str, SlotAssignment] | None] = {}
    found = []
    for row in session.execute(query.order_by(RolloutDeviceRow.device, RolloutDeviceRow.rollout)):
        previous = read_row(row.previous, SlotAssignment, owner=row.device, what="", into=[])
        if previous is not None and not _names([previous], release):
            continue
        if row.device not in assigned:
            read = read_row(row.body or "", Assignment, owner=row.device, what="", into=[])
            assigned[row.device] = read.slots if read else None
        slots = assigned[row.device]
        standing = slots.get(row.slot) if slots is not None else None
        # Of a rollout that has ended, only who still should run what it brought goes back.
        if row.state not in TERMINAL or (standing is not None and standing.artifact == row.artifact):
            found.append(f"{row.device} ({rollout_id(row.rollout)})")
    return found
