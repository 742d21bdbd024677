"""What devices say, taken in by one function per message, whichever way it came.

Reports are ordered by (epoch, sequence): within an epoch the higher sequence wins, another epoch is newer
unless it was left behind before. So a retained report that a broker hands out again, or one that was long on
its way, never overwrites what came after it. Presence follows the same thought: a will counts only for the
connection that made it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_device_id
from edgelift_contract.replies import BatchReply, ReportReply
from edgelift_contract.report import MAX_REPORT_BYTES, Presence, Report, SlotReport
from edgelift_contract.telemetry import MAX_BATCH_BYTES, Batch
from edgelift_fleet import telemetry
from edgelift_fleet.assignments import overtake
from edgelift_fleet.db import Database, device_scope
from edgelift_fleet.devices import LastSeen, enrol, get_device, set_device_tags, set_facts
from edgelift_fleet.sightings import Caller
from edgelift_fleet.tables import DeviceRow, SlotStateRow, UpdateHistoryRow

log = logging.getLogger(__name__)

MAX_ENROL_BYTES = 64 * 1024
MAX_PRESENCE_BYTES = 4 * 1024
#: Epochs left behind that are remembered per device.
_PAST_EPOCHS = 16


class _Named(msgspec.Struct):
    device: str


class Intake:
    """The way in for devices' messages. Safe to call from several threads."""

    def __init__(
        self, db: Database, seen: LastSeen, *, on_report: Callable[[], None] = lambda: None,
        on_raised: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            db: where to.
            seen: told of every sign of life.
            on_report: called after a report changed something; must not block.
            on_raised: told of a device whose assignment got a higher number; must not block.
        """
        self._db, self._seen, self._on_report, self._on_raised = db, seen, on_report, on_raised

    def enrol(self, data: bytes) -> EnrolRequest:
        """A device introduces itself; again is fine.

        Raises:
            ContractError: `malformed`, `unknown-schema`, `too-large`, `bad-id`.
        """
        # The name is judged first: "contains '/'" helps more than a regular expression that doesn't match.
        check_device_id(codec.decode_json(data, _Named, what="enrolment", limit_bytes=MAX_ENROL_BYTES).device)
        request = codec.decode_json(data, EnrolRequest, what="enrolment", limit_bytes=MAX_ENROL_BYTES)
        with self._db.write(device_scope(request.device)) as session:
            new = enrol(session, request)
        self._seen.touch(request.device, "http")
        log.info("enrolled device=%s new=%s class=%s", request.device, new, request.facts.hardware_class)
        return request

    def report(self, device: str, data: bytes, *, via: str, address: str = "") -> ReportReply:
        """A device says what it runs; the reply says whether this was news.

        Args:
            device: from the path or topic.
            data: a `Report`.
            via: `http` or `mqtt`.
            address: whence it came, as far as this host can see.

        Raises:
            ContractError: as `enrol`, `wrong-device`, `not-found` when it never enrolled.
        """
        report = codec.decode_json(data, Report, what="report", limit_bytes=MAX_REPORT_BYTES)
        _same(device, report.device, "report")
        with self._db.write(device_scope(device)) as session:
            row = get_device(session, device)
            taken = _take_order(row, report.epoch, report.sequence)
            raised = None
            if taken:
                _store_report(session, row, report)
                raised = overtake(session, row, report.assignment)
        caller = Caller(report.epoch, address or report.address, report.sequence)
        if taken:
            self._seen.touch(device, via, caller)
        else:
            self._seen.sightings.hear(device, caller, via=via)
        if raised is not None:
            log.warning(
                "device=%s has seen revision %d, which is not this host's (restored from a backup?);"
                " its assignment is now revision %d", device, report.revision_seen, raised,
            )  # fmt: skip
            self._on_raised(device)
        if taken:
            self._on_report()
        return ReportReply(
            schema=ReportReply.SCHEMA, device=device, epoch=report.epoch, sequence=report.sequence, news=taken,
            duplicate=bool(self._seen.sightings.duplicates(device)),
        )  # fmt: skip

    def telemetry(self, device: str, data: bytes, *, via: str) -> BatchReply:
        """A device delivers a batch; the reply says how many of its items were new.

        Raises:
            ContractError: as `report`.
        """
        batch = codec.decode_json(data, Batch, what="telemetry batch", limit_bytes=MAX_BATCH_BYTES)
        _same(device, batch.device, "telemetry batch")
        with self._db.write(device_scope(device)) as session:
            get_device(session, device)
            new = telemetry.store(session, batch)
        self._seen.touch(device, via)
        last = max((item.seq for item in batch.items), default=-1)
        return BatchReply(schema=BatchReply.SCHEMA, device=device, epoch=batch.epoch, last=last, new=new)

    def presence(self, device: str, data: bytes) -> bool:
        """A birth or a will from the broker; returns whether it counted.

        Raises:
            ContractError: as `report`.
        """
        presence = codec.decode_json(data, Presence, what="presence", limit_bytes=MAX_PRESENCE_BYTES)
        _same(device, presence.device, "presence")
        with self._db.write(device_scope(device)) as session:
            row = get_device(session, device)
            counts = _presence_counts(row, presence)
            if counts:
                row.presence_online = presence.online
                row.presence_epoch, row.presence_connect = presence.epoch, presence.connect
                if not presence.online:
                    row.gone_at = time.time()
        if counts and presence.online:
            self._seen.touch(device, "mqtt")
        return counts


def _same(device: str, claimed: str, what: str) -> None:
    if device != claimed:
        raise ContractError("wrong-device", f"A {what} of {claimed!r} was sent as {device!r}; it was ignored.")


def _take_order(row: DeviceRow, epoch: str, sequence: int) -> bool:
    """Is a report news? If so, remember that it came."""
    if epoch == row.report_epoch:
        if sequence <= row.report_sequence:
            return False
    else:
        past: list[str] = msgspec.json.decode(row.past_epochs)
        if epoch in past:
            return False
        if row.report_epoch:
            past = [*past, row.report_epoch][-_PAST_EPOCHS:]
            row.past_epochs = msgspec.json.encode(past).decode()
        row.report_epoch = epoch
    row.report_sequence = sequence
    return True


def _presence_counts(row: DeviceRow, presence: Presence) -> bool:
    if presence.online:
        # A birth of the same epoch with a lower count is an old retained message.
        return presence.epoch != row.presence_epoch or presence.connect >= row.presence_connect
    return presence.epoch == row.presence_epoch and presence.connect >= row.presence_connect


def _store_report(session: Session, row: DeviceRow, report: Report) -> None:
    row.agent_version = report.agent_version[:64]
    row.revision_seen, row.revision_applied = report.revision_seen, report.revision_applied
    if report.facts is not None:
        set_facts(row, report.facts)
    set_device_tags(session, row.id, report.tags)
    session.execute(
        sa.delete(SlotStateRow).where(SlotStateRow.device == row.id, SlotStateRow.slot.not_in(report.slots))
    )
    for name, slot in report.slots.items():
        _store_slot(session, row.id, name, slot)


def _store_slot(session: Session, device: str, name: str, slot: SlotReport) -> None:
    body = codec.canonical_json(slot.update).decode() if slot.update else ""
    session.merge(
        SlotStateRow(
            device=device,
            slot=name,
            state=slot.state,
            generation=slot.generation,
            artifact=slot.artifact,
            model=slot.model,
            version=slot.version,
            since=slot.since,
            last_update=body,
        )
    )
    if slot.update is None:
        return
    key = {
        "device": device,
        "slot": name,
        "revision": slot.update.revision,
        "artifact": slot.update.artifact,
        "rollout": slot.update.rollout,
    }
    known = session.scalars(sa.select(UpdateHistoryRow).filter_by(**key)).one_or_none()
    now = time.time()
    if known is None:
        session.add(UpdateHistoryRow(**key, outcome=slot.update.outcome, body=body, first_at=now, last_at=now))
    elif known.body != body:
        known.outcome, known.body, known.last_at = slot.update.outcome, body, now
