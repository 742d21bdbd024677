"""Assignments: what each device should run, one revision per change.

Level-triggered: the row holds the wanted end. Writing what stands there already makes no new revision.
"""

from __future__ import annotations

import time

import msgspec
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, Policy, SlotAssignment, dump_assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_contract.report import DeviceFacts
from edgelift_contract.rules import choose
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import Database
from edgelift_fleet.devices import get_device
from edgelift_fleet.registry import get_release
from edgelift_fleet.tables import AssignmentRow, DeviceRow


def get_assignment(session: Session, device: str) -> Assignment | None:
    """What the device should run; None before the first assignment."""
    row = session.get(AssignmentRow, device)
    return msgspec.json.decode(row.body, type=Assignment) if row is not None else None


def pick(
    session: Session, device: DeviceRow, release: str, policy: Policy, *, rollout: str = ""
) -> SlotAssignment:
    """The assignment of the release's artifact that suits the device.

    Raises:
        ContractError: `not-found`, `wrong-hardware-class`, `runtime-missing`.
    """
    found = get_release(session, release)
    facts = msgspec.json.decode(device.facts, type=DeviceFacts)
    entry = choose(found.artifacts, facts, what=release)
    return SlotAssignment(entry.id, entry.manifest_bytes, found.model, found.version, policy, rollout)


def set_slot(session: Session, device: DeviceRow, slot: str, wanted: SlotAssignment | None) -> int | None:
    """State what a slot should run; None empties it. Inside a write transaction.

    Returns:
        The new revision; None when this stood there already.

    Raises:
        ContractError: `too-large` when the device has too many slots.
    """
    current = get_assignment(session, device.id)
    slots = dict(current.slots) if current else {}
    if slots.get(slot) == wanted:
        return None
    if wanted is None:
        del slots[slot]
    else:
        slots[slot] = wanted
    # A device never goes back to a lower revision; one restored from a backup must not be stuck behind it.
    revision = max(current.revision if current else 0, device.revision_seen) + 1
    now = time.time()
    made = Assignment(
        schema=Assignment.SCHEMA, device=device.id, revision=revision, issued_at=round(now, 3), slots=slots
    )
    body = dump_assignment(made).decode()
    session.merge(AssignmentRow(device=device.id, revision=revision, issued_at=now, body=body))
    session.flush()
    return revision


class Assignments:
    """Direct assignments by an operator."""

    def __init__(self, db: Database, changes: Changes) -> None:
        self._db, self._changes = db, changes

    def assign(
        self, device: str, release: str, *, slot: str = "", policy: Policy | None = None
    ) -> tuple[Assignment, bool]:
        """Have a device run a release.

        Args:
            device: its id.
            release: as `digits@2`.
            slot: the model's name when empty.
            policy: how to update; to go back to an older release it must allow that.

        Returns:
            What the device should run now, and whether that is new.

        Raises:
            ContractError: `bad-id`, `not-found`, `wrong-hardware-class`, `runtime-missing`, `too-large`.
        """
        with self._db.write() as session:
            row = get_device(session, device)
            wanted = pick(session, row, release, policy or Policy())
            slot = check_name("slot", slot or wanted.model)
            current = get_assignment(session, device)
            standing = current.slots.get(slot) if current else None
            if standing and msgspec.structs.replace(standing, rollout="") == wanted:
                wanted = standing  # a rollout asked for exactly this: nothing to change
            revision = set_slot(session, row, slot, wanted)
            made = get_assignment(session, device)
        if revision is not None:
            self._changes.announce(device)
        assert made is not None
        return made, revision is not None

    def clear(self, device: str, slot: str) -> Assignment:
        """Have a device empty a slot.

        Raises:
            ContractError: `not-found` when the device is unknown or nothing is assigned to the slot.
        """
        with self._db.write() as session:
            row = get_device(session, device)
            current = get_assignment(session, device)
            if current is None or slot not in current.slots:
                raise ContractError("not-found", f"Nothing is assigned to the slot {slot!r} of {device}.")
            set_slot(session, row, slot, None)
            made = get_assignment(session, device)
        self._changes.announce(device)
        assert made is not None
        return made
