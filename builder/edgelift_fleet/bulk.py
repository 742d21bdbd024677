"""Assigning a release to many devices at once, without waves: all in one call, and each device's outcome told.

Written in chunks of devices, each in one transaction of a fixed number of statements; those of a chunk are told once it is
committed. What is wrong with one device costs that device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_contract.release import Release
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.rules import choose
from edgelift_fleet.assignments import set_slots
from edgelift_fleet.changes import Changes
from edgelift_fleet.cohorts import select_ids, unknown_ids
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.messages import AssignManyRequest, AssignOutcome
from edgelift_fleet.registry import get_offered
from edgelift_fleet.rows import Fault, decode_row, read_row
from edgelift_fleet.selector import short
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow

_CHUNK = 200


def assign_many(db: Database, changes: Changes, request: AssignManyRequest) -> list[AssignOutcome]:
    """Have every device that a selector means run a release; what each of them got, by id.

    Args:
        db: of the site.
        changes: told of each device whose assignment changed.
        request: which release, to whom, how.

    Raises:
        ContractError: `bad-id`, `not-found` (the release, or no device is selected).
    """
    with db.read() as session:
        release = get_offered(session, request.release)
        slot = check_name("slot", request.slot or release.model)
        ids, unknown = select_ids(session, request.to), unknown_ids(session, request.to)
    if not ids:
        hint = f"Nobody is called {', '.join(unknown[:3])}." if unknown else "See: edgelift devices."
        raise ContractError("not-found", f"{short(request.to)} selects no device.", hint=hint)
    outcomes = [
        AssignOutcome(device, "refused", code="not-found", message=f"There is no device {device!r}.")
        for device in unknown
    ]
    for chunk in _chunks(ids):
        with db.write(SITE) as session:
            made = _assign(session, chunk, release, slot, request.policy)
        outcomes += made
        for outcome in made:
            if outcome.outcome == "assigned":
                changes.announce(outcome.device)
    return sorted(outcomes, key=lambda outcome: outcome.device)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _CHUNK):
        yield ids[first : first + _CHUNK]


def _assign(
    session: Session, devices: Sequence[str], release: Release, slot: str, policy: Policy
) -> list[AssignOutcome]:
    wishes: dict[str, SlotAssignment | None] = {}
    refused: dict[str, ContractError] = {}
    again: set[str] = set()
    query = sa.select(
        DeviceRow.id, DeviceRow.facts, AssignmentRow.body, SlotStateRow.artifact, SlotStateRow.last_update
    )
    query = query.outerjoin(AssignmentRow, AssignmentRow.device == DeviceRow.id)
    reported = sa.and_(SlotStateRow.device == DeviceRow.id, SlotStateRow.slot == slot)
    for device, facts, body, serving, last in session.execute(
        query.outerjoin(SlotStateRow, reported).where(DeviceRow.id.in_(devices))
    ):
        try:
            wanted = _wanted(device, facts, release, policy)
            standing = _standing(device, body, slot)
        except ContractError as error:
            refused[device] = error
            continue
        if standing and msgspec.structs.replace(standing, rollout="", asked=0) == wanted:
            if _failed(device, last, serving, standing):
                again.add(device)
            else:
                wanted = standing  # a rollout asked for exactly this: nothing to change
        wishes[device] = wanted
    revisions: Mapping[str, int | ContractError | None] = set_slots(session, slot, wishes, again=again)
    refused |= {device: found for device, found in revisions.items() if isinstance(found, ContractError)}
    return [
        AssignOutcome(device, "refused", slot, code=refused[device].code, message=str(refused[device]))
        if device in refused
        else _outcome(device, slot, wishes[device], revisions.get(device))
        for device in devices
        if device in refused or device in wishes
    ]


def _outcome(
    device: str, slot: str, wanted: SlotAssignment | None, revision: int | ContractError | None
) -> AssignOutcome:
    artifact = wanted.artifact if wanted else ""
    if isinstance(revision, int):
        return AssignOutcome(device, "assigned", slot, artifact, revision)
    return AssignOutcome(device, "unchanged", slot, artifact)


def _wanted(device: str, facts: str, release: Release, policy: Policy) -> SlotAssignment:
    read = decode_row(facts, DeviceFacts, owner=device, what="facts")
    entry = choose(release.artifacts, read, what=f"{release.model}@{release.version}")
    return SlotAssignment(entry.id, entry.manifest_bytes, release.model, release.version, policy)


def _standing(device: str, body: str | None, slot: str) -> SlotAssignment | None:
    if body is None:
        return None
    return decode_row(body, Assignment, owner=device, what="assignment").slots.get(slot)


def _failed(device: str, last: str | None, serving: str | None, wanted: SlotAssignment) -> bool:
    """Did it report that it could not install what is wanted? Then it is to try again."""
    faults: list[Fault] = []
    update = read_row(last, UpdateReport, owner=device, what="last update", into=faults) if last else None
    if (
        update is None
        or serving == wanted.artifact
        or update.outcome not in ("refused", "rolled-back", "inconsistent")
    ):
        return False
    return update.artifact == wanted.artifact and update.revision >= wanted.asked
