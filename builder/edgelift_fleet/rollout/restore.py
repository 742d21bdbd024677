"""Going back: what a device had in a slot before a rollout, and giving it that again."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import SlotAssignment
from edgelift_fleet.assignments import get_assignment, read_assignment, set_slot
from edgelift_fleet.devices import get_device
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rows import Fault, read_row
from edgelift_fleet.tables import ArtifactRow, ReleaseRow, RolloutDeviceRow, RolloutRow, SlotStateRow


def previous_of(session: Session, device: str, slot: str, wanted: SlotAssignment) -> SlotAssignment | None:
    """What a slot is to go back to if `wanted` fails; None for nothing.

    What the device says it serves comes first: an assignment that it refused earlier is nothing to go back to.
    """
    assignment = get_assignment(session, device)
    standing = assignment.slots.get(slot) if assignment else None
    reported = session.get(SlotStateRow, (device, slot))
    if reported is None or not reported.artifact or (standing and standing.artifact == reported.artifact):
        return standing
    query = sa.select(ArtifactRow, ReleaseRow).join(ReleaseRow, ReleaseRow.id == ArtifactRow.release_id)
    found = session.execute(query.where(ArtifactRow.id == reported.artifact)).first()
    if found is None:
        return standing  # it serves something that was never published here
    artifact, release = found
    policy = standing.policy if standing else wanted.policy
    return SlotAssignment(artifact.id, artifact.manifest_bytes, release.model, release.version, policy)


def restore(session: Session, rollout: RolloutRow, rows: Iterable[RolloutDeviceRow]) -> list[str]:
    """Assign again what each device had before; returns the devices whose assignment changed.

    A device that should run something else by now is left alone.
    """
    changed = []
    for row in rows:
        unreadable: list[Fault] = []
        assignment = read_assignment(session, row.device, unreadable)
        previous = None
        if row.previous:
            previous = read_row(
                row.previous, SlotAssignment, owner=row.device, what="previous assignment", into=unreadable
            )
        if unreadable:
            continue  # it is set apart: nothing is known to give back
        standing = assignment.slots.get(rollout.slot) if assignment else None
        if standing is None or standing.artifact != row.artifact:
            continue
        device = get_device(session, row.device)
        wanted = None
        if previous is not None:
            policy = msgspec.structs.replace(previous.policy, allow_older=True)
            wanted = msgspec.structs.replace(previous, policy=policy, rollout=rollout_id(rollout.number))
        row.going_back, row.assigned_at = True, time.time()
        revision = set_slot(session, device, rollout.slot, wanted)
        if revision is not None:
            row.revision = revision
            changed.append(row.device)
    return changed
