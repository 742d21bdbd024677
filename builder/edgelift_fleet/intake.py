"""What devices say, taken in by one function per message, whichever way it came.

Reports are ordered by (epoch, sequence): within an epoch the higher sequence wins, another epoch is newer
unless it was left behind before. So a retained report that a broker hands out again, or one that was long on
its way, never overwrites what came after it. Presence follows the same thought: a will counts only for the
connection that made it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, cast

import msgspec
from sqlalchemy.orm import Session

from edgelift_contract import __version__, codec
from edgelift_contract.assignment import Assignment
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.fitting import decode_clean
from edgelift_contract.ids import check_device_id
from edgelift_contract.replies import BatchReply, ReportReply
from edgelift_contract.report import MAX_REPORT_BYTES, Presence, Report, UpdateReport
from edgelift_contract.telemetry import MAX_BATCH_BYTES, Batch
from edgelift_contract.versions import check_versions
from edgelift_fleet import telemetry
from edgelift_fleet.assignments import overtake
from edgelift_fleet.db import Database, devices_scope
from edgelift_fleet.devices import LastSeen, enrol, get_device
from edgelift_fleet.happened import ENDED, known_code
from edgelift_fleet.reported import Known, presence_counts, store_report, take_order
from edgelift_fleet.restored import Staying, stays
from edgelift_fleet.sightings import NOBODY, Caller
from edgelift_fleet.tables import AssignmentRow

log = logging.getLogger(__name__)

MAX_ENROL_BYTES = 64 * 1024
MAX_PRESENCE_BYTES = 4 * 1024


class _Named(msgspec.Struct):
    device: str


#: What stands in a device's place in an address of the API that can be read.
RESERVED = ("counts",)


def device_of(enrolment: bytes) -> str:
    """Who introduces itself; raises ContractError as `Intake.enrol`."""
    # The name is judged first: "contains '/'" helps more than a regular expression that doesn't match.
    named = codec.decode_json(enrolment, _Named, what="enrolment", limit_bytes=MAX_ENROL_BYTES)
    device = check_device_id(named.device)
    if device in RESERVED:
        raise ContractError(
            "bad-id", f"No device can be called {device!r}: the API has something else there.",
            hint="Give the device another id.",
        )  # fmt: skip
    return device


def enrolment_of(data: bytes) -> EnrolRequest:
    """Who introduces itself, and what it says; raises ContractError as `Intake.enrol`."""
    device_of(data)
    return decode_clean(data, EnrolRequest, what="enrolment", limit_bytes=MAX_ENROL_BYTES)


class Message(NamedTuple):
    """What a link brings.

    Attributes:
        kind: `enrol`, `report`, `telemetry` or `presence`.
        device: from the path or topic; of an enrolment, as it says itself.
        data: as it came.
        via: `http` or `mqtt`.
        caller: which process of the device sent it and whence, as far as the link can see.
    """

    kind: Literal["enrol", "report", "telemetry", "presence"]
    device: str
    data: bytes
    via: str = "http"
    caller: Caller = NOBODY


class Judged(Protocol):
    """A message that was read and is what it should be.

    Attributes:
        device: whose.
    """

    device: str

    def write(self, session: Session, known: Known, /) -> None:
        """Store it, inside a write transaction; raises ContractError. May be called again after that was undone."""

    def settle(self) -> object:
        """What follows once it is committed; gives the reply."""


class Intake:
    """The way in for devices' messages. Safe to call from several threads."""

    def __init__(
        self, db: Database, seen: LastSeen, *, on_report: Callable[[], None] = lambda: None,
        on_raised: Callable[[str], None] = lambda _: None, staying: Staying | None = None,
        traces: bool = False,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            db: where to.
            seen: told of every sign of life.
            on_report: called after a report changed something; must not block.
            on_raised: told of a device whose assignment got a higher number; must not block.
            staying: told of devices that went on since the backup of which this site was made, and stay as they are.
            traces: a receiver is to be told of updates that end.
        """
        self._db, self.seen, self.on_report, self.on_raised = db, seen, on_report, on_raised
        self._traces = traces
        self.staying = staying or Staying()

    def take(self, messages: Sequence[Message]) -> list[object]:
        """Store messages, all in one transaction; gives the reply to each, or the exception that is told in its place.

        A `ReportReply` says whether the report was news, a `BatchReply` how many items were; a presence gives whether
        it counted, an enrolment its request. One that is wrong costs the others nothing.
        """
        outcomes: list[object] = [self._read(message) for message in messages]
        judged = cast("list[Judged]", [one for one in outcomes if not isinstance(one, Exception)])
        # In the order of their names, as everybody writes rows of several devices: no two wait for each other.
        failed = self._write(sorted(judged, key=lambda one: one.device))
        return [
            one if isinstance(one, Exception) else failed.get(id(one)) or cast("Judged", one).settle()
            for one in outcomes
        ]

    def _read(self, message: Message) -> Judged | Exception:
        try:
            return _KINDS[message.kind](self, message)
        except Exception as error:  # noqa: BLE001 - told to the sender
            return error

    def _write(self, group: list[Judged]) -> dict[int, Exception]:
        """By `id`, those that could not be written, with the reason."""
        if not group:
            return {}
        try:
            devices = {one.device for one in group}
            with self._db.write(devices_scope(devices)) as session:
                batches = [one for one in group if isinstance(one, _Batch)]
                others = [one for one in group if not isinstance(one, _Batch)]
                if others:
                    _write_each(session, others, traces=self._traces)
                stored = telemetry.store_many(session, [one.batch for one in batches]) if batches else []
            for one, new in zip(batches, stored, strict=True):
                one.new = new if isinstance(new, int) else 0
            return {id(one): new for one, new in zip(batches, stored, strict=True) if isinstance(new, Exception)}
        except (TransportError, DeviceError) as error:  # the database's own: each would meet it again
            return {id(one): error for one in group}
        except Exception as error:  # noqa: BLE001 - one of them; found by writing each by itself
            if len(group) == 1:
                return {id(group[0]): error}
            return {key: reason for one in group for key, reason in self._write([one]).items()}

    def enrol(self, data: bytes) -> EnrolRequest:
        """A device introduces itself; again is fine. Raises as `report`, but for `wrong-device` and `not-found`."""
        return cast("EnrolRequest", self._one(Message("enrol", "", data)))

    def report(self, device: str, data: bytes, *, via: str, address: str = "") -> ReportReply:
        """A device says what it runs; the reply says whether this was news.

        Raises:
            ContractError: `malformed`, `unknown-schema`, `too-large`, `bad-id`, `wrong-device`, `not-found` when it
                never enrolled.
        """
        return cast("ReportReply", self._one(Message("report", device, data, via, Caller(address=address))))

    def telemetry(self, device: str, data: bytes, *, via: str) -> BatchReply:
        """A device delivers a batch; the reply says how many of its items were new. Raises as `report`."""
        return cast("BatchReply", self._one(Message("telemetry", device, data, via)))

    def presence(self, device: str, data: bytes) -> bool:
        """A birth or a will from the broker; returns whether it counted. Raises as `report`."""
        return cast("bool", self._one(Message("presence", device, data, "mqtt")))

    def _one(self, message: Message) -> object:
        (outcome,) = self.take([message])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class _Enrolment:
    """A device introduces itself."""

    def __init__(self, intake: Intake, message: Message) -> None:
        self._request = enrolment_of(message.data)
        self.device, self._intake, self._caller, self._new = self._request.device, intake, message.caller, False
        try:
            check_versions(self.device, self._request.agent_version, __version__)
        except ContractError as error:
            log.warning("refused device=%s code=%s %s", self.device, error.code, error.message)
            raise

    def write(self, session: Session, _: Known, /) -> None:
        self._new = enrol(session, self._request)

    def settle(self) -> EnrolRequest:
        self._intake.seen.touch(self.device, "http", self._caller)
        log.info("enrolled device=%s new=%s class=%s", self.device, self._new, self._request.facts.hardware_class)
        return self._request


class _Report:
    """What a device runs."""

    def __init__(self, intake: Intake, message: Message) -> None:
        self.report = decode_clean(message.data, Report, what="report", limit_bytes=MAX_REPORT_BYTES)
        _same(message.device, self.report.device, "report")
        self.device, self._intake, self._message = message.device, intake, message
        self._taken, self._raised, self._stays = False, None, False  # type: bool, int | None, bool
        self._asks_anew = self._asks_fresh = self._behind = False
        self._ended: list[UpdateReport] = []

    def write(self, session: Session, known: Known, /) -> None:
        row = get_device(session, self.device)
        self._taken, self._raised = take_order(row, self.report.epoch, self.report.sequence), None
        self._stays, self._ended = False, []
        if self._taken:
            self._asks_anew = bool(self.report.nonce) and self.report.nonce != row.nonce
            self._asks_fresh = bool(self.report.nonce) and self.report.asks_fresh
            self._ended = store_report(session, known, row, self.report)
            if self.device in known.assigned:
                self._behind = self.report.revision_seen < known.assigned[self.device]
                self._raised = overtake(session, row, self.report.assignment, stays=self._is_to_stay(session))

    def _is_to_stay(self, session: Session) -> Callable[[AssignmentRow, Assignment], bool]:
        def asked(row: AssignmentRow, wanted: Assignment) -> bool:
            self._stays = stays(session, row, wanted, self.report.slots)
            return self._stays

        return asked

    def settle(self) -> ReportReply:
        report, via, intake = self.report, self._message.via, self._intake
        caller = Caller(report.epoch, self._message.caller.address or report.address, report.sequence)
        if self._taken:
            intake.seen.touch(self.device, via, caller)
        else:
            intake.seen.sightings.hear(self.device, caller, via=via)
        if self._raised is not None:
            log.warning(
                "device=%s has seen revision %d, which is not this host's (restored from a backup?);"
                " its assignment is now revision %d", self.device, report.revision_seen, self._raised,
            )  # fmt: skip
            intake.on_raised(self.device)
        elif self._asks_fresh or (self._asks_anew and self._behind):
            intake.on_raised(self.device)  # what is retained for it answers another question
        for one in self._ended:
            ENDED.add(one.outcome, known_code(one.code))
        if self._stays:
            intake.staying.note(self.device)
        if self._taken:
            intake.on_report()
        return ReportReply(
            schema=ReportReply.SCHEMA, device=self.device, epoch=report.epoch, sequence=report.sequence,
            news=self._taken, duplicate=bool(intake.seen.sightings.duplicates(self.device)),
        )  # fmt: skip


class _Batch:
    """Telemetry; a group's batches are stored together."""

    def __init__(self, intake: Intake, message: Message) -> None:
        self.batch = decode_clean(message.data, Batch, what="telemetry batch", limit_bytes=MAX_BATCH_BYTES)
        _same(message.device, self.batch.device, "telemetry batch")
        telemetry.check_batch(self.batch)
        self.device, self._intake, self._message, self.new = message.device, intake, message, 0

    def write(self, session: Session, _: Known, /) -> None:
        self.new = telemetry.store(session, self.batch)

    def settle(self) -> BatchReply:
        self._intake.seen.touch(self.device, self._message.via, self._message.caller)
        last = max((item.seq for item in self.batch.items), default=-1)
        return BatchReply(
            schema=BatchReply.SCHEMA, device=self.device, epoch=self.batch.epoch, last=last, new=self.new
        )


class _Presence:
    """A birth or a will."""

    def __init__(self, intake: Intake, message: Message) -> None:
        self._presence = decode_clean(message.data, Presence, what="presence", limit_bytes=MAX_PRESENCE_BYTES)
        _same(message.device, self._presence.device, "presence")
        self.device, self._intake, self._counts = message.device, intake, False

    def write(self, session: Session, _: Known, /) -> None:
        row = get_device(session, self.device)
        self._counts = presence_counts(row, self._presence)
        if self._counts:
            row.presence_online = self._presence.online
            row.presence_epoch, row.presence_connect = self._presence.epoch, self._presence.connect
            if not self._presence.online:
                row.gone_at = time.time()

    def settle(self) -> bool:
        if self._counts and self._presence.online:
            self._intake.seen.touch(self.device, "mqtt")
        return self._counts


_KINDS: dict[str, Callable[[Intake, Message], Judged]] = {
    "enrol": _Enrolment, "report": _Report, "telemetry": _Batch, "presence": _Presence,
}  # fmt: skip


def _write_each(session: Session, group: Sequence[Judged], *, traces: bool) -> None:
    """Write what isn't telemetry, over the rows of its devices; telemetry needs none of them."""
    reports = [one.report for one in group if isinstance(one, _Report)]
    known = Known(session, {one.device for one in group}, reports, traces=traces)
    for one in group:
        one.write(session, known)
    known.finish(session)


def _same(device: str, claimed: str, what: str) -> None:
    if device != claimed:
        raise ContractError("wrong-device", f"A {what} of {claimed!r} was sent as {device!r}; it was ignored.")
