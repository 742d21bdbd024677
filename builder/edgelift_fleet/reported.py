"""What a device's word changes in the tables: which reports and presences count, and the rows that they set.

The rows of a whole group of devices are read first, by one statement a table, and written together at the end, again by
one statement a table; what stands there already is not written again: most reports say little that is new.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from edgelift_contract import codec
from edgelift_contract.report import Degradation, Presence, Report, SlotReport, UpdateReport
from edgelift_fleet.caps import KEPT
from edgelift_fleet.db import among
from edgelift_fleet.devices import hold_devices, set_device_tags, set_facts
from edgelift_fleet.dropped import drop_count
from edgelift_fleet.happened import is_end
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow, TagRow, UpdateHistoryRow, table_of
from edgelift_fleet.untold import EndedUpdate, keep_ended

#: Epochs left behind that are remembered per device.
_PAST_EPOCHS = 16


#: Columns that are written together, whichever of them changed.
_TOGETHER: dict[type[object], tuple[str, ...]] = {
    DeviceRow: (
        "agent_version", "nonce", "report_epoch", "report_sequence", "past_epochs", "revision_seen", "revision_applied",
        "presence_online", "presence_epoch", "presence_connect", "gone_at", "degraded",
    ),
    SlotStateRow: ("state", "generation", "artifact", "model", "version", "since", "last_update"),
    UpdateHistoryRow: ("outcome", "body", "last_at"),
}  # fmt: skip


def read_degraded(device: str, body: str) -> list[Degradation]:
    """What a device said last of what is broken around its agent, as its row has it; none where that can't be read."""
    found = read_row(body, list[Degradation], owner=device, what="what is degraded", into=[]) if body else None
    return found or []


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
        assigned: of those that have an assignment, its revision.
    """

    def __init__(
        self, session: Session, devices: Collection[str], reports: Collection[Report], *, traces: bool = False
    ) -> None:  # fmt: skip
        """Read what stands.

        Args:
            session: of a write transaction.
            devices: of whose own rows something may change, all of them; they are held from now on.
            reports: those that are to be stored.
            traces: a receiver is to be told of updates that end.
        """
        reporting = {report.device for report in reports}
        hold_devices(session, devices)
        self._devices = session.scalars(sa.select(DeviceRow).where(among(session, DeviceRow.id, devices))).all()
        self._slots: dict[str, dict[str, SlotStateRow]] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._assignments = []
        self._history: dict[UpdateKey, UpdateHistoryRow] = {}
        self._added: list[UpdateHistoryRow] = []
        self._traces, self._ended = traces, list[EndedUpdate]()
        if reporting:
            for slot in session.scalars(
                sa.select(SlotStateRow).where(among(session, SlotStateRow.device, reporting))
            ):
                self._slots.setdefault(slot.device, {})[slot.slot] = slot
            tags = sa.select(TagRow.device, TagRow.key, TagRow.value).where(
                among(session, TagRow.device, reporting)
            )
            for device, key, value in session.execute(tags.where(TagRow.source == "device")):
                self._tags.setdefault(device, {})[key] = value
            wanted = sa.select(AssignmentRow).where(among(session, AssignmentRow.device, reporting))
            self._assignments = list(session.scalars(wanted))
            history = sa.select(UpdateHistoryRow).where(
                among(session, UpdateHistoryRow.device, reporting),
                among(session, UpdateHistoryRow.revision, {u.revision for r in reports for u in _updates(r)}),
            )
            for row in session.scalars(history):
                self._history[UpdateKey(row.device, row.slot, row.revision, row.artifact, row.rollout)] = row
        self.assigned = {row.device: row.revision for row in self._assignments}
        self._issued_at = {(row.device, row.revision): row.issued_at for row in self._assignments}

    def slots(self, device: str) -> dict[str, SlotStateRow]:
        """The device's slots by name; what is changed here is what the next report of the same group finds."""
        return self._slots.setdefault(device, {})

    def update(self, key: UpdateKey) -> UpdateHistoryRow | None:
        """The row of an update, if it has been reported of before."""
        return self._history.get(key)

    def add_update(self, key: UpdateKey, outcome: str, body: str) -> None:
        """A row for an update that has not been reported of before; `finish` writes it."""
        now = time.time()
        row = UpdateHistoryRow(**key._asdict(), outcome=outcome, body=body, first_at=now, last_at=now)
        self._history[key] = row
        self._added.append(row)

    def note_end(self, slot: str, update: UpdateReport, report: Report) -> None:
        """An update of a device has ended, as this report is the first to say; its row has been made."""
        row = self.update(_key(report.device, slot, update))
        if not self._traces or row is None:
            return
        now = time.time()
        self._ended.append(
            EndedUpdate(
                device=report.device, slot=slot, update=update, agent_version=report.agent_version,
                assigned_at=self._issued_at.get((report.device, update.revision), 0.0), first_at=row.first_at,
                received_at=now, said_at=report.at,
            )
        )  # fmt: skip

    def finish(self, session: Session) -> None:
        """Write what is left to be written, rows of a kind together."""
        # A statement for each set of columns would be one for each device: what changed is written with what didn't.
        for changed in session.dirty:
            for name in _TOGETHER.get(type(changed), ()):
                flag_modified(changed, name)
        if self._added:
            names = [*UpdateKey._fields, "outcome", "body", "first_at", "last_at"]
            rows = [{name: getattr(row, name) for name in names} for row in self._added]
            session.execute(sa.insert(table_of(UpdateHistoryRow)), rows)
            _bound_history(session, {row.device for row in self._added})
        keep_ended(session, self._ended)

    def set_tags(self, session: Session, device: str, tags: dict[str, str]) -> None:
        """As `set_device_tags`, but for tags that stand already."""
        if self._tags.get(device, {}) != tags:
            set_device_tags(session, device, tags)
            self._tags[device] = dict(tags)


def _bound_history(session: Session, devices: Collection[str], most: int = KEPT["updates"].rows) -> None:
    """Of each of these devices the newest updates stay; how many went is counted."""
    row = UpdateHistoryRow
    number = sa.func.count()
    query = sa.select(row.device, number).where(among(session, row.device, devices)).group_by(row.device)
    for device, found in session.execute(query.having(number > most)).all():
        oldest = sa.select(row.id).where(row.device == device).order_by(row.last_at, row.id).limit(found - most)
        session.execute(sa.delete(row).where(row.id.in_(oldest)).execution_options(synchronize_session=False))
        drop_count(session, device, {"updates": found - most})


def _updates(report: Report) -> list[UpdateReport]:
    return [slot.update for slot in report.slots.values() if slot.update is not None]


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


def store_report(session: Session, known: Known, row: DeviceRow, report: Report) -> list[UpdateReport]:
    """Make a device's rows what it reports; returns the updates whose end it is the first to tell of.

    Raises:
        ContractError: `bad-id` or `too-large` for its tags.
    """
    row.agent_version, row.nonce = report.agent_version[:64], report.nonce
    row.revision_seen, row.revision_applied = report.revision_seen, report.revision_applied
    row.degraded = codec.canonical_json(report.degraded).decode() if report.degraded else ""
    if report.facts is not None:
        set_facts(row, report.facts)
    known.set_tags(session, row.id, report.tags)
    slots = known.slots(row.id)
    for gone in slots.keys() - report.slots.keys():
        session.delete(slots.pop(gone))
    ended = []
    for name, slot in report.slots.items():
        if _store_slot(session, known, row.id, name, slot) and slot.update is not None:
            known.note_end(name, slot.update, report)
            ended.append(slot.update)
    return ended


def _store_slot(session: Session, known: Known, device: str, name: str, slot: SlotReport) -> bool:
    """Returns whether its update has ended, and that is new."""
    slots = known.slots(device)
    body = codec.canonical_json(slot.update).decode() if slot.update else ""
    row = slots.get(name)
    if row is None:
        row = slots[name] = SlotStateRow(device=device, slot=name, last_update="")
        session.add(row)
    row.state, row.generation, row.artifact = slot.state, slot.generation, slot.artifact
    row.model, row.version, row.since = slot.model, slot.version, slot.since
    ended = False
    if body != row.last_update and slot.update is not None:
        ended = _store_update(known, device, name, slot.update, body)
    row.last_update = body
    return ended


def _store_update(known: Known, device: str, name: str, update: UpdateReport, body: str) -> bool:
    key = _key(device, name, update)
    row = known.update(key)
    before = row.outcome if row is not None else ""
    if row is None:
        known.add_update(key, update.outcome, body)
    elif row.body != body:
        row.outcome, row.body, row.last_at = update.outcome, body, time.time()
    return is_end(update.outcome, before)


def _key(device: str, slot: str, update: UpdateReport) -> UpdateKey:
    return UpdateKey(device, slot, update.revision, update.artifact, update.rollout)
