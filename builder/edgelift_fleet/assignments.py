"""Assignments: what each device should run, one revision per change.

Level-triggered: the row holds the wanted end. Writing what stands there already makes no new revision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment, dump_assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.rules import choose
from edgelift_fleet.changes import Changes
from edgelift_fleet.conditions import FREE, Conditions, version_of_device
from edgelift_fleet.db import Database, among, device_scope
from edgelift_fleet.devices import get_device
from edgelift_fleet.messages import AssignReply, Desired
from edgelift_fleet.numbering import next_revision, revisions_spent
from edgelift_fleet.registry import get_offered
from edgelift_fleet.rows import Fault, UnreadableRow, decode_row, read_row
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow

_WHAT = "assignment"


def get_assignment(session: Session, device: str) -> Assignment | None:
    """What the device should run; None before the first assignment. Raises ContractError `unreadable-row`."""
    row = session.get(AssignmentRow, device)
    return decode_row(row.body, Assignment, owner=device, what=_WHAT) if row is not None else None


def read_assignment(session: Session, device: str, into: list[Fault]) -> Assignment | None:
    """The same; one that can't be read is added to `into`, and None."""
    row = session.get(AssignmentRow, device)
    return read_row(row.body, Assignment, owner=device, what=_WHAT, into=into) if row is not None else None


def _standing(session: Session, device: str) -> int:
    """The revision of its assignment; 0 for none."""
    return session.scalar(sa.select(AssignmentRow.revision).filter_by(device=device)) or 0


def pick(
    session: Session, device: DeviceRow, release: str, policy: Policy, *, rollout: str = ""
) -> SlotAssignment:
    """The assignment of the release's artifact that suits the device.

    Raises:
        ContractError: `not-found`, `wrong-hardware-class`, `runtime-missing`, or `unreadable-row` and
            `revisions-spent` where the device is set apart.
    """
    found = get_offered(session, release)
    if spent := revisions_spent(device.id, _standing(session, device.id), device.revision_seen):
        raise UnreadableRow(spent)
    facts = decode_row(device.facts, DeviceFacts, owner=device.id, what="facts")
    entry = choose(found.artifacts, facts, what=release)
    return SlotAssignment(entry.id, entry.manifest_bytes, found.model, found.version, policy, rollout)


def set_slot(
    session: Session, device: DeviceRow, slot: str, wanted: SlotAssignment | None, *, again: bool = False
) -> int | None:
    """State what a slot should run; None empties it. Inside a write transaction.

    Args:
        session: of the transaction.
        device: whose slot.
        slot: its name.
        wanted: what it should run.
        again: ask once more for what stands there already: a device that failed at it begins afresh.

    Returns:
        The new revision; None when this stood there already.

    Raises:
        ContractError: `too-large` when the device has too many slots.
    """
    current = get_assignment(session, device.id)
    slots = dict(current.slots) if current else {}
    if not again and _wish(slots.get(slot)) == _wish(wanted):
        return None
    # A device never goes back to a lower revision; one restored from a backup must not be stuck behind it.
    standing = current.revision if current else 0
    if spent := revisions_spent(device.id, standing, device.revision_seen):
        raise UnreadableRow(spent)
    revision = next_revision(standing, device.revision_seen)
    if wanted is None:
        slots.pop(slot, None)
    else:
        slots[slot] = msgspec.structs.replace(wanted, asked=revision)
    _write(session, device, revision, slots)
    return revision


def set_slots(
    session: Session, slot: str, wishes: Mapping[str, SlotAssignment | None], *, again: Collection[str] = ()
) -> dict[str, int | ContractError | None]:
    """`set_slot` for many devices, in a fixed number of statements. Inside a write transaction.

    Args:
        session: of the transaction.
        slot: the name of the slot.
        wishes: device → what its slot should run; None empties it.
        again: devices that are asked once more for what stands there already, as in `set_slot`.

    Returns:
        Device → its new revision, None when this stood there already, or why it could not be written: what is wrong
        with one device costs that one. A device that isn't enrolled is left out.
    """
    query = sa.select(DeviceRow.id, DeviceRow.revision_seen, AssignmentRow.body)
    query = query.outerjoin(AssignmentRow, AssignmentRow.device == DeviceRow.id).where(
        among(session, DeviceRow.id, wishes)
    )
    found: dict[str, int | ContractError | None] = {}
    new: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    now = time.time()
    for device, revision_seen, body in session.execute(query):
        try:
            made = _next(device, body, revision_seen, slot, wishes[device], now, again=device in again)
        except ContractError as error:
            found[device] = error
            continue
        found[device] = made.revision if made else None
        if made:
            row = {
                "device": device,
                "revision": made.revision,
                "issued_at": now,
                "body": dump_assignment(made).decode(),
            }
            (new if body is None else changed).append(row)
    if new:
        session.execute(sa.insert(AssignmentRow), new)
    if changed:
        session.execute(sa.update(AssignmentRow), changed)
    return found


def _next(
    device: str, body: str | None, revision_seen: int, slot: str, wanted: SlotAssignment | None, now: float,
    *, again: bool,
) -> Assignment | None:  # fmt: skip
    """A device's assignment after a change of one slot; None where nothing changes.

    Raises:
        ContractError: `unreadable-row`, `revisions-spent`, `too-large`.
    """
    current = decode_row(body, Assignment, owner=device, what=_WHAT) if body is not None else None
    slots = dict(current.slots) if current else {}
    if not again and _wish(slots.get(slot)) == _wish(wanted):
        return None
    standing = current.revision if current else 0
    if spent := revisions_spent(device, standing, revision_seen):
        raise UnreadableRow(spent)
    revision = next_revision(standing, revision_seen)
    if wanted is None:
        slots.pop(slot, None)
    else:
        slots[slot] = msgspec.structs.replace(wanted, asked=revision)
    made = Assignment(
        schema=Assignment.SCHEMA, device=device, revision=revision, issued_at=round(now, 3), slots=slots
    )
    dump_assignment(made)
    return made


def _wish(slot: SlotAssignment | None) -> SlotAssignment | None:
    """What is wanted, whenever it was asked for."""
    return msgspec.structs.replace(slot, asked=0) if slot is not None else None


def overtake(
    session: Session, device: DeviceRow, held: str, *,
    stays: Callable[[AssignmentRow, Assignment], bool] = lambda _row, _wanted: False,
) -> int | None:  # fmt: skip
    """Give the assignment a number above the one that its device has seen, if that one was not this assignment.

    A control plane restored from a backup counts lower than its devices have seen, or means something else by the
    same number: they would wait for ever. Inside a write transaction, after `revision_seen` was stored.

    Args:
        session: of the transaction.
        device: who reported.
        held: SHA-256 of the assignment that the device holds, as it says; empty when it doesn't.
        stays: asked where the numbers don't agree: is the device to be left as it is all the same?

    Returns:
        The new revision; None when the numbers agree, nothing is assigned, or the device stays: then it keeps what it has.
    """
    row = session.get(AssignmentRow, device.id)
    if row is None or device.revision_seen < row.revision:
        return None
    if device.revision_seen == row.revision and held in ("", codec.digest(row.body.encode())):
        return None
    if revisions_spent(device.id, row.revision, device.revision_seen):
        return None  # no honest device is there: it costs itself its assignments, and nobody else anything
    current = read_row(row.body, Assignment, owner=device.id, what=_WHAT, into=[])
    if current is None:
        return None  # it is set apart until it is mended
    if stays(row, current):
        return None
    revision = next_revision(row.revision, device.revision_seen)
    _write(session, device, revision, dict(current.slots))
    return revision


def renumbered(assignment: Assignment, revision: int) -> dict[str, Any]:
    """The row of an assignment that says the same under another number; for many at once."""
    now = time.time()
    made = msgspec.structs.replace(assignment, revision=revision, issued_at=round(now, 3))
    body = dump_assignment(made).decode()
    return {"device": made.device, "revision": revision, "issued_at": now, "body": body}


def reissue(session: Session, device: DeviceRow, revision: int, slots: dict[str, SlotAssignment]) -> None:
    """Assign exactly these slots under a number that is above every one before. Raises ContractError `too-large`."""
    _write(session, device, revision, slots)


def _write(session: Session, device: DeviceRow, revision: int, slots: dict[str, SlotAssignment]) -> None:
    now = time.time()
    made = Assignment(
        schema=Assignment.SCHEMA, device=device.id, revision=revision, issued_at=round(now, 3), slots=slots
    )
    body = dump_assignment(made).decode()
    session.merge(AssignmentRow(device=device.id, revision=revision, issued_at=now, body=body))
    session.flush()


def has_failed(session: Session, device: str, slot: str, wanted: SlotAssignment) -> bool:
    """Did the device report that it could not install what is wanted, and does it serve something else?"""
    row = session.get(SlotStateRow, (device, slot))
    return row is not None and has_failed_at(row, wanted)


def has_failed_at(row: SlotStateRow, wanted: SlotAssignment) -> bool:
    """The same of a slot as it was reported."""
    if not row.last_update or row.artifact == wanted.artifact:
        return False
    update = read_row(row.last_update, UpdateReport, owner=row.device, what="last update", into=[])
    return update is not None and failed_at(update, wanted)


def failed_at(update: UpdateReport, wanted: SlotAssignment) -> bool:
    """Is this the failure of what is wanted, at its latest asking?"""
    failed = update.outcome in ("refused", "rolled-back", "inconsistent")
    return failed and update.artifact == wanted.artifact and update.revision >= wanted.asked


def to_desired(wanted: SlotAssignment) -> Desired:
    """A slot's assignment, as people see it."""
    return Desired(wanted.model, wanted.version, wanted.artifact, wanted.rollout, wanted.policy, wanted.placebo)


class Assignments:
    """Direct assignments by an operator."""

    def __init__(self, db: Database, changes: Changes) -> None:
        self._db, self._changes = db, changes

    def assign(
        self, device: str, release: str, *, slot: str = "", policy: Policy | None = None, on: Conditions = FREE
    ) -> AssignReply:
        """Have a device run a release.

        Args:
            device: its id.
            release: as `digits@2`.
            slot: the model's name when empty.
            policy: how to update; to go back to an older release it must allow that.
            on: conditions.

        Returns:
            What the device should run now. It is `changed` also when the device failed at the same before, for then it is
            to try again.

        Raises:
            AnsweredBefore: it was done already.
            ContractError: `bad-id`, `not-found`, `retired`, `wrong-hardware-class`, `runtime-missing`, `too-large`,
                `changed-meanwhile`.
        """
        with self._db.write(device_scope(device)) as session:
            on.begin(session)
            row = get_device(session, device)
            on.match(version_of_device(session, device))
            wanted = pick(session, row, release, policy or Policy())
            slot = check_name("slot", slot or wanted.model)
            current = get_assignment(session, device)
            standing = current.slots.get(slot) if current else None
            again = False
            if standing and msgspec.structs.replace(standing, rollout="", asked=0) == wanted:
                again = has_failed(session, device, slot, standing)
                wanted = wanted if again else standing  # a rollout asked for exactly this: nothing to change
            revision = set_slot(session, row, slot, wanted, again=again)
            made = get_assignment(session, device)
            assert made is not None
            desired = to_desired(made.slots[slot])
            reply = AssignReply(device, made.revision, revision is not None, slot, desired)
            on.end(session, reply)
        if reply.changed:
            self._changes.announce(device)
        return reply

    def clear(self, device: str, slot: str, on: Conditions = FREE) -> Assignment:
        """Have a device empty a slot.

        Raises:
            AnsweredBefore: it was done already.
            ContractError: `not-found` when the device is unknown or nothing is assigned to the slot; `changed-meanwhile`.
        """
        with self._db.write(device_scope(device)) as session:
            on.begin(session)
            row = get_device(session, device)
            on.match(version_of_device(session, device))
            current = get_assignment(session, device)
            if current is None or slot not in current.slots:
                raise ContractError("not-found", f"Nothing is assigned to the slot {slot!r} of {device}.")
            set_slot(session, row, slot, None)
            made = get_assignment(session, device)
            on.end(session, made)
        self._changes.announce(device)
        assert made is not None
        return made
