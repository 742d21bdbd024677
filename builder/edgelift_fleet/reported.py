"""What a device's word changes in the tables: which reports and presences count, and the rows that they set.

The rows of a whole group of devices are read first, by one statement a table, and what stands there already is not
written again: most reports say little that is new.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.report import Presence, Report, SlotReport, UpdateReport
from edgelift_fleet.devices import set_device_tags, set_facts
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow, TagRow, UpdateHistoryRow

#: Epochs left behind that are remembered per device.
_PAST_EPOCHS = 16


class UpdateKey(NamedTuple):
    """What tells one update from another."""

    device: str
    slot: str
    revision: int
    artifact: str
    rollout: str


class Known:
    """The rows of some devices as they stand in a session; they stay with it as long as this does.

    Attributes:
        assigned: those that have an assignment.
    """

    def __init__(self, session: Session, devices: Collection[str], reporting: Collection[str]) -> None:
        """Read what stands.

        Args:
            session: of a write transaction.
            devices: whose rows; all of them.
            reporting: those of them that a report is stored of.
        """
        self._devices = session.scalars(sa.select(DeviceRow).where(DeviceRow.id.in_(devices))).all()
        self._slots: dict[str, dict[str, SlotStateRow]] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._assignments = []
        self._history: dict[UpdateKey, UpdateHistoryRow] = {}
        if reporting:
            for slot in session.scalars(sa.select(SlotStateRow).where(SlotStateRow.device.in_(reporting))):
                self._slots.setdefault(slot.device, {})[slot.slot] = slot
            tags = sa.select(TagRow.device, TagRow.key, TagRow.value).where(TagRow.device.in_(reporting))
            for device, key, value in session.execute(tags.where(TagRow.source == "device")):
                self._tags.setdefault(device, {})[key] = value
            wanted = sa.select(AssignmentRow).where(AssignmentRow.device.in_(reporting))
            self._assignments = list(session.scalars(wanted))
            # What devices report on is what they are asked for now, but for those that are behind.
            current = sa.and_(
                UpdateHistoryRow.device == AssignmentRow.device,
                UpdateHistoryRow.revision == AssignmentRow.revision,
            )
            history = sa.select(UpdateHistoryRow).join(AssignmentRow, current)
            for row in session.scalars(history.where(UpdateHistoryRow.device.in_(reporting))):
                self._history[UpdateKey(row.device, row.slot, row.revision, row.artifact, row.rollout)] = row
        self._current = {row.device: row.revision for row in self._assignments}
        self.assigned = set(self._current)

    def slots(self, device: str) -> dict[str, SlotStateRow]:
        """The device's slots by name; what is changed here is what the next report of the same group finds."""
        return self._slots.setdefault(device, {})

    def update(self, session: Session, key: UpdateKey) -> UpdateHistoryRow | None:
        """The row of an update, if it has been reported of before."""
        found = self._history.get(key)
        if found is None and key.revision != self._current.get(key.device):
            found = session.scalars(sa.select(UpdateHistoryRow).filter_by(**key._asdict())).one_or_none()
        return found

    def add_update(self, session: Session, key: UpdateKey, outcome: str, body: str) -> None:
        """A row for an update that has not been reported of before."""
        now = time.time()
        row = UpdateHistoryRow(**key._asdict(), outcome=outcome, body=body, first_at=now, last_at=now)
        session.add(row)
        self._history[key] = row

    def set_tags(self, session: Session, device: str, tags: dict[str, str]) -> None:
        """As `set_device_tags`, but for tags that stand already."""
        if self._tags.get(device, {}) != tags:
            set_device_tags(session, device, tags)
            self._tags[device] = dict(tags)


def take_order(row: DeviceRow, epoch: str, sequence: int) -> bool:
    """Is a report news? If so, remember that it came."""
    if epoch == row.report_epoch:
        if sequence <= row.report_sequence:
            return False
    else:
        past = read_row(row.past_epochs, list[str], owner=row.id, what="past epochs", into=[]) or []
        if epoch in past:
            return False
        if row.report_epoch:
            past = [*past, row.report_epoch][-_PAST_EPOCHS:]
            row.past_epochs = msgspec.json.encode(past).decode()
        row.report_epoch = epoch
    row.report_sequence = sequence
    return True


def presence_counts(row: DeviceRow, presence: Presence) -> bool:
    """Does a birth or will belong to the device's newest connection?"""
    if presence.online:
        # A birth of the same epoch with a lower count is an old retained message.
        return presence.epoch != row.presence_epoch or presence.connect >= row.presence_connect
    return presence.epoch == row.presence_epoch and presence.connect >= row.presence_connect


def store_report(session: Session, known: Known, row: DeviceRow, report: Report) -> None:
    """Make a device's rows what it reports.

    Raises:
        ContractError: `bad-id` or `too-large` for its tags.
    """
    row.agent_version = report.agent_version[:64]
    row.revision_seen, row.revision_applied = report.revision_seen, report.revision_applied
    if report.facts is not None:
        set_facts(row, report.facts)
    known.set_tags(session, row.id, report.tags)
    slots = known.slots(row.id)
    for gone in slots.keys() - report.slots.keys():
        session.delete(slots.pop(gone))
    for name, slot in report.slots.items():
        _store_slot(session, known, row.id, name, slot)


def _store_slot(session: Session, known: Known, device: str, name: str, slot: SlotReport) -> None:
    slots = known.slots(device)
    body = codec.canonical_json(slot.update).decode() if slot.update else ""
    row = slots.get(name)
    if row is None:
        row = slots[name] = SlotStateRow(device=device, slot=name, last_update="")
        session.add(row)
    row.state, row.generation, row.artifact = slot.state, slot.generation, slot.artifact
    row.model, row.version, row.since = slot.model, slot.version, slot.since
    if body != row.last_update and slot.update is not None:
        _store_update(session, known, device, name, slot.update, body)
    row.last_update = body


def _store_update(session: Session, known: Known, device: str, name: str, update: UpdateReport, body: str) -> None:
    key = UpdateKey(device, name, update.revision, update.artifact, update.rollout)
    row = known.update(session, key)
    if row is None:
        known.add_update(session, key, update.outcome, body)
    elif row.body != body:
        row.outcome, row.body, row.last_at = update.outcome, body, time.time()
