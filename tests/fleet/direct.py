"""A control plane without its network: boards speak to `Intake`, and the controller looks when it is told to.

So a test says who is there, who says what and when the controller looks, and nothing happens in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, Policy
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.report import DeviceFacts, Presence, Report, SlotReport, UpdateReport
from edgelift_fleet.assignments import Assignments
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.intake import Intake, Message
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages import RolloutOrder, RolloutRequest, RolloutView
from edgelift_fleet.rollout.controller import Controller
from edgelift_fleet.rollout.orders import Rollouts
from edgelift_fleet.rollout.view import Asked
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import AssignmentRow

FACTS = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {"onnxruntime": "1.30.0"})
AT_ONCE = Policy(probation_s=0.0, probation_min_requests=0)


class Direct:
    """One control plane and its boards."""

    def __init__(self, db: Database, lead: Lead) -> None:
        self.db, self.seen, self.changes, self.work = db, LastSeen(), Changes(), threading.Event()
        self.told: list[str] = []
        self.changes.subscribe(self.told.append)
        self.intake = Intake(db, self.seen, on_report=self.work.set)
        self.assignments = Assignments(db, self.changes)
        self.rollouts = Rollouts(db, self.seen, wake=self.work.set)
        self.controller = Controller(lead, db, self.seen, self.changes, self.work)
        self.slots: dict[str, SlotReport] = {}
        self.seen_revision: dict[str, int] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self._sequence = 0

    def take(self, *messages: Message) -> None:
        for reply in self.intake.take(messages):
            if isinstance(reply, Exception):
                raise reply

    def add(self, *names: str, facts: DeviceFacts = FACTS, **tags: str) -> None:
        """Boards that are there, over the broker."""
        for name in names:
            self.tags[name] = {"demo": "", **tags}
            self.slots[name], self.seen_revision[name] = SlotReport(), 0
        self.enrol(*names, facts=facts)
        self.come(*names)
        self.say(*names)

    def enrol(self, *names: str, facts: DeviceFacts = FACTS) -> None:
        """They introduce themselves, once more if they were there already."""
        asked = [EnrolRequest(schema=1, device=name, facts=facts, tags=self.tags[name]) for name in names]
        self.take(*(Message("enrol", one.device, codec.canonical_json(one)) for one in asked))

    def come(self, *names: str) -> None:
        self._presence(names, online=True)

    def go(self, *names: str) -> None:
        self._presence(names, online=False)

    def _presence(self, names: Sequence[str], *, online: bool) -> None:
        self.take(*(
            Message("presence", name, codec.canonical_json(Presence(1, name, online, "e", 1)), "mqtt") for name in names
        ))  # fmt: skip

    def say(self, *names: str) -> None:
        """Reports of what these boards are."""
        self._sequence += 1
        self.take(*(
            Message("report", name, codec.canonical_json(Report(
                schema=1, device=name, epoch="e", sequence=self._sequence, at=time.time(), agent_version="direct",
                revision_seen=self.seen_revision[name], revision_applied=self.seen_revision[name],
                slots={"digits": self.slots[name]} if self.slots[name] != SlotReport() else {}, tags=self.tags[name],
            )), "mqtt")
            for name in names
        ))  # fmt: skip

    def wanted(self, *names: str) -> dict[str, Assignment]:
        with self.db.read() as session:
            query = sa.select(AssignmentRow.device, AssignmentRow.body)
            rows = session.execute(query if len(names) > 500 else query.where(AssignmentRow.device.in_(names)))
            return {
                d: codec.decode_json(b.encode(), Assignment, what="assignment") for d, b in rows if d in set(names)
            }

    def answer(self, *names: str, outcome: str = "committed") -> None:
        """These boards learn what they should run, carry it out and say how that ended, or that they have begun."""
        for name, assignment in self.wanted(*names).items():
            self.seen_revision[name] = assignment.revision
            slot, old = assignment.slots.get("digits"), self.slots[name]
            if slot is None:
                self.slots[name] = SlotReport()
                continue
            if slot.artifact == old.artifact and old.update and old.update.revision >= slot.asked:
                continue
            failed = outcome in ("refused", "rolled-back")
            update = UpdateReport(
                slot.artifact, slot.model, slot.version, assignment.revision, slot.rollout, outcome,
                code="golden-mismatch" if failed else "", message="It is wrong." if failed else "",
            )  # fmt: skip
            new = SlotReport("serving", old.generation + 1, slot.artifact, slot.model, slot.version, 1.0, update)
            kept = SlotReport(
                "serving" if old.artifact else "empty",
                old.generation,
                old.artifact,
                old.model,
                old.version,
                1.0,
                update,
            )
            self.slots[name] = new if outcome == "committed" else kept
        self.say(*names)

    def versions(self, *names: str) -> list[str]:
        return [self.slots[name].version for name in names]

    def start(self, release: str, waves: str = "1,100%", to: str = "tag:demo", **options: object) -> str:
        request = RolloutRequest(release=release, to=to, waves=waves.split(","), **{"policy": AT_ONCE, **options})
        return self.rollouts.start(request).id

    def order(self, rollout: str, command: str, *devices: str, why: str = "") -> RolloutView:
        return self.rollouts.command(rollout, command, RolloutOrder(why, list(devices)))

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.controller.step()

    def show(self, rollout: str, **asked: object) -> RolloutView:
        return self.rollouts.show(rollout, Asked(**asked))

    def statuses(self, rollout: str) -> dict[str, str]:
        return {d.device: d.status for d in self.show(rollout, limit=1000).devices}


@contextmanager
def direct(site: Path) -> Iterator[Direct]:
    """The control plane of a site that was made."""
    db = Database(load_site(site).database)
    try:
        with Lead(db) as lead:
            assert lead.wait(60)
            yield Direct(db, lead)
    finally:
        db.close()


@contextmanager
def counted(db: Database) -> Iterator[list[str]]:
    """The statements that run inside the block."""
    statements: list[str] = []

    def on(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", on)
    try:
        yield statements
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", on)


def ready(fleet: Direct, *names: str) -> None:
    """Boards that serve digits@1."""
    fleet.add(*names)
    for name in names:
        fleet.assignments.assign(name, "digits@1")
    fleet.answer(*names)


def settle(fleet: Direct, rollout: str, *names: str, looks: int = 12) -> str:
    """Look and have these boards answer for a while; the state after that."""
    for _ in range(looks):
        fleet.look()
        fleet.answer(*names)
    fleet.look()
    return fleet.show(rollout).state
