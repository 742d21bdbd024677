"""Making a device whole again whose rows can't be read: what is unreadable goes, and the device is asked afresh.

What a device says (facts, last update, history, telemetry) is dropped: its next report brings it anew. What was said
*to* it, its assignment, is saved slot by slot, and what can't be saved is taken from what it serves; where nothing is
left nothing is assigned, and the device keeps what it has: to assign no slots would empty them. The assignment gets a
fresh revision, so the device has something to answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.ids import LARGEST_COUNT, Name
from edgelift_contract.report import DeviceFacts
from edgelift_contract.text import clean
from edgelift_fleet.assignments import reissue
from edgelift_fleet.bodies import BODIES, Body
from edgelift_fleet.conditions import FREE, Conditions, version_of_device
from edgelift_fleet.db import Database, device_scope
from edgelift_fleet.devices import get_device, set_facts
from edgelift_fleet.messages import MendReply
from edgelift_fleet.numbering import next_revision, revisions_spent
from edgelift_fleet.rows import is_readable
from edgelift_fleet.tables import (
    ArtifactRow,
    AssignmentRow,
    DeviceRow,
    ReleaseRow,
    RolloutDeviceRow,
    SlotStateRow,
    TelemetryBucketRow,
    TelemetryDoubtRow,
    TelemetryEpochRow,
    UpdateHistoryRow,
)
from edgelift_fleet.telemetry.cohort_sums import forget_of
from edgelift_fleet.telemetry.cohorts import mark_changed

log = logging.getLogger(__name__)

#: Rows that are looked through at once.
_AT_ONCE = 1000


class Mending:
    """Mends devices for operators; `announce` is told of each whose assignment changed."""

    def __init__(self, db: Database, announce: Callable[[str], None]) -> None:
        self._db, self._announce = db, announce

    def mend(self, device: str, on: Conditions = FREE) -> MendReply:
        """Mend one device; one that is whole is only asked afresh. On conditions, as every change (`conditions`).

        Raises:
            ContractError: `bad-id`, `not-found`.
        """
        with self._db.write(device_scope(device)) as session:
            on.begin(session)
            row = get_device(session, device)
            on.match(version_of_device(session, device))
            dropped = _drop_unreadable(session, row)
            standing = session.scalar(sa.select(AssignmentRow.revision).filter_by(device=device)) or 0
            if revisions_spent(device, standing, row.revision_seen):
                row.revision_seen = row.revision_applied = 0
                dropped.append("revision")
            if session.connection().execute(sa.delete(TelemetryDoubtRow).filter_by(device=device)).rowcount:
                dropped.append("doubts")
            # Whatever it says next is news, also under an epoch that somebody else's words pushed aside.
            row.report_epoch, row.report_sequence, row.past_epochs = "", -1, "[]"
            revision, lost = _assign_afresh(session, row)
            made = MendReply(device, dropped, revision, lost)
            on.end(session, made)
        log.warning("mended device=%s dropped=%s lost=%s", device, ",".join(dropped), ",".join(lost))
        self._announce(device)
        return made


def _drop_unreadable(session: Session, device: DeviceRow) -> list[str]:
    """Drop what the device said and what can't be read; returns what that was, for people."""
    dropped = []
    for body in BODIES:
        if body.mine is None or body.table is AssignmentRow:
            continue
        query = sa.select(body.table).where(body.mine(device.id)).execution_options(yield_per=_AT_ONCE)
        unreadable = [row for row in session.scalars(query) if not body.reads(row)]
        buckets = [row for row in unreadable if isinstance(row, TelemetryBucketRow)]
        if buckets:
            mark_changed(session)
            forget_of(session, device.id, ((row.level, row.start) for row in buckets))
        for row in unreadable:
            _drop(session, body, row, device)
        if unreadable and body.what not in dropped:
            dropped.append(body.what)
    session.flush()
    return dropped


def _drop(session: Session, body: Body, row: Any, device: DeviceRow) -> None:
    if isinstance(row, UpdateHistoryRow):
        session.delete(row)
        # What the device says of it again is news only where it differs from what stands as the last.
        slot = session.get(SlotStateRow, (device.id, row.slot))
        if slot is not None:
            slot.last_update = ""
    elif body.what == "telemetry":
        session.delete(row)
    elif isinstance(row, TelemetryEpochRow):
        row.seen = b""
    elif body.column == "facts":
        set_facts(device, DeviceFacts(device.hardware_class or "unknown"))
    elif isinstance(row, RolloutDeviceRow):
        # What to go back to isn't known any more: the rollout lets go of it, and says so.
        row.previous, row.artifact, row.status, row.code = "", "", "superseded", ""
        row.message = "It was taken out by a mend: what it had before can't be read."
    else:
        setattr(row, body.column, "[]" if body.column == "past_epochs" else "")


def _assign_afresh(session: Session, device: DeviceRow) -> tuple[int | None, list[str]]:
    """A fresh revision of what can be read of the assignment.

    Returns:
        The revision; None where nothing is assigned. And the slots whose assignment could not be saved.
    """
    row = session.get(AssignmentRow, device.id)
    if row is None:
        return None, []
    slots, lost = salvage(row.body)
    if not is_readable(row.body, Assignment):
        slots = {**_serving(session, device.id), **slots}
        lost = [slot for slot in lost if slot not in slots]
        if not slots:
            session.delete(row)
            return None, lost
    current = row.revision if row.revision < LARGEST_COUNT else 0
    revision = next_revision(current, device.revision_seen)
    reissue(session, device, revision, slots)
    return revision, lost


def salvage(body: str) -> tuple[dict[str, SlotAssignment], list[str]]:
    """The slots of an assignment's body that can be read, and the names of those that can't. Pure."""
    try:
        pairs = list(msgspec.json.decode(body)["slots"].items())
    except (msgspec.MsgspecError, RecursionError, KeyError, TypeError, AttributeError):
        return {}, []
    slots: dict[str, SlotAssignment] = {}
    lost: list[str] = []
    for name, value in pairs:
        try:
            slots |= msgspec.convert({name: value}, type=dict[Name, SlotAssignment])
        except msgspec.MsgspecError:
            lost.append(clean(str(name)[:64]))
    return slots, lost


def _serving(session: Session, device: str) -> dict[str, SlotAssignment]:
    """What the device serves, where it was published here, as assignments."""
    query = (
        sa.select(SlotStateRow.slot, ArtifactRow, ReleaseRow)
        .join(ArtifactRow, ArtifactRow.id == SlotStateRow.artifact)
        .join(ReleaseRow, ReleaseRow.id == ArtifactRow.release_id)
        .where(SlotStateRow.device == device)
    )
    return {
        slot: SlotAssignment(artifact.id, artifact.manifest_bytes, release.model, release.version)
        for slot, artifact, release in session.execute(query)
    }
