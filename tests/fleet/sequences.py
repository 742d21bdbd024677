"""Any sequence of calls by boards and operators, played on a whole control plane, and the laws that hold after each.

Boards are honest, forget, repeat themselves, are cloned, and lie. The laws: no fault of the server's; another board's
rows are never touched; nothing counts as committed without what the host itself received; a rollout has each of its
devices in one place; revisions only grow; each item of telemetry counts once. At the end every board that is left in
peace gets to what it is assigned.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis.stateful import initialize, rule

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment
from edgelift_contract.histogram import HistogramData
from edgelift_contract.report import Presence, SlotReport, UpdateReport
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item
from edgelift_fleet.intake import Message
from edgelift_fleet.messages import DeviceDetail
from edgelift_fleet.site import Site, load_site
from edgelift_fleet.telemetry.plausible import doubt_gauge, doubt_window
from tests.fleet.played_server import Clock, InProcess
from tests.fleet.sequence_base import BOARDS, NAMES
from tests.fleet.sequence_laws import Laws
from tests.fleet.sequence_orders import Orders
from tests.fleet.speaking import CLASSES, Board

#: Where JSON's readers stop counting.
FAR = 2**53
REVISIONS = st.sampled_from([0, 1, 7, 1000, FAR - 2, FAR - 1, FAR])
ABSURD = HistogramData(offset=900, counts=[3], high=1.0)


class Sequences(Orders, Laws):
    """See the module. `template` is a site to begin from, with `releases`."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.server = InProcess(self.new_site(Path(self.folder.name)), self.clock).__enter__()
        self.boards = {name: Board(name) for name in NAMES}
        self.items = {}
        self.received = []
        self.doubted = set()
        self.said = set()
        self.started = {}
        self.committed = set()
        self.revisions = {}
        for name in NAMES[:2]:
            self.enrol(name, "x86-64-avx2", {"all": ""})
            self.assign(name, "digits@1", (0.0, 0))
            self.live(name, "committed", 40)

    def new_site(self, folder: Path) -> Site:
        shutil.copytree(self.template, folder / "site")
        return load_site(folder / "site")

    def teardown(self) -> None:
        if hasattr(self, "server"):
            try:
                self.everybody_arrives()
            finally:
                self.server.__exit__()
                self.folder.cleanup()

    # What boards do.

    @rule(
        name=BOARDS,
        hardware_class=st.sampled_from(sorted(CLASSES)),
        tags=st.sampled_from([{}, {"all": ""}, {"a": "1"}]),
    )
    def enrol(self, name: str, hardware_class: str, tags: dict[str, str]) -> None:
        """For the first time, or again: as another machine, or as it was."""
        board = self.boards[name]
        board.hardware_class, board.tags = hardware_class, tags
        assert self.tell(name, "POST", "/v1/enroll", board.enrolment()).status == 200
        board.enrolled = True

    @rule(
        name=BOARDS,
        outcome=st.sampled_from(["committed", "committed", "in-progress", "refused", "rolled-back"]),
        ok=st.sampled_from([0, 5, 40]),
    )
    def live(self, name: str, outcome: str, ok: int) -> None:
        """It polls, carries out what it learns, or begins with it, delivers what it measured and reports."""
        board = self.boards[name]
        changed = self.poll(board, outcome)
        if outcome == "committed" and ok:
            for slot in changed:
                self.deliver(name, board.batch(board.window(slot, self.clock.now(), ok)))
        self.report(board)

    def poll(self, board: Board, outcome: str) -> list[str]:
        headers = {"if-none-match": f'"{board.revision}"', "edgelift-epoch": board.epoch}
        with self.speaks(board.name):
            answer = self.server.ask("GET", board.desired_path, who="enrolment", headers=headers)
        assert answer.status in ({200, 304} if board.enrolled else {404}), answer
        if answer.status != 200:
            return board.take(board.wanted, board.revision, outcome)  # what it has begun goes on
        wanted = codec.decode_json(answer.data, Assignment, what="assignment")
        assert wanted.device == board.name
        return board.take(wanted.slots, wanted.revision, outcome) if wanted.revision > board.revision else []

    def report(self, board: Board) -> None:
        for slot in board.slots.values():
            if slot.update and slot.update.outcome == "committed":
                self.said.add((board.name, slot.update.rollout))
        answer = self.tell(board.name, "PUT", board.report_path, board.report(self.clock.now()))
        assert answer.status == (200 if board.enrolled else 404), answer

    @rule(name=BOARDS, ok=st.integers(0, 60), errors=st.integers(0, 3), gauges=st.booleans())
    def serve(self, name: str, ok: int, errors: int, gauges: bool) -> None:
        """A minute of serving."""
        board, now = self.boards[name], self.clock.now()
        bodies: list[Any] = [board.window(slot, now, ok, errors) for slot, s in board.slots.items() if s.artifact]
        if gauges:
            bodies += [
                Gauges(start=now - 60, end=now, values={"soc_temp_c": 60.0}),
                DeviceEvent(at=now, kind="throttled"),
            ]
        self.deliver(name, board.batch(*bodies))

    def deliver(self, name: str, batch: Batch) -> None:
        answer = self.tell(name, "POST", self.boards[name].telemetry_path, codec.canonical_json(batch))
        assert answer.status == (200 if self.boards[name].enrolled else 404), answer
        if answer.status != 200:
            return
        new = 0
        for item in batch.items:
            key = (name, batch.epoch, item.seq)
            if key not in self.items:
                new += 1
                self.items[key] = item
                if item.window is not None and not doubt_window(item.window):
                    self.received.append((self.clock.now(), name, item.window))
                if _doubted(item):
                    self.doubted.add(name)
        assert answer.json()["new"] == new

    @rule(
        name=BOARDS,
        odd=st.sampled_from([
            {"ok": 2**40}, {"errors": 2**40}, {"ok": 0}, {"end": 0.0, "ok": 2**39},
            {"latency_us": {"total": HistogramData(zeros=3)}}, {"latency_us": {"infer": ABSURD}},
        ]),
        temp_c=st.sampled_from([1e9, -1e18, 55.0]),
    )  # fmt: skip
    def measure_nonsense(self, name: str, odd: dict[str, Any], temp_c: float) -> None:
        """Counts that no board can serve, latencies that nothing has."""
        board, now = self.boards[name], self.clock.now()
        for slot, state in board.slots.items():
            if state.artifact:
                gauges = Gauges(start=now, end=now, values={"soc_temp_c": temp_c})
                window = msgspec.structs.replace(board.window(slot, now, 3), **odd)
                self.deliver(name, board.batch(window, gauges))

    @rule(name=BOARDS, begins=st.sampled_from([0.0, 1e9, 9e9]), ends=st.sampled_from([0.0, 1e9, 9e9]))
    def serve_by_a_wrong_clock(self, name: str, begins: float, ends: float) -> None:
        """It believes that it is 1970, or was set meanwhile: what it served counts all the same."""
        board = self.boards[name]
        for slot, state in board.slots.items():
            if state.artifact:
                self.deliver(name, board.batch(board.window(slot, 100.0, 7, start=begins, end=ends)))

    @rule(name=BOARDS, back=st.integers(0, 3))
    def deliver_again(self, name: str, back: int) -> None:
        """A batch whose answer was lost."""
        if sent := self.boards[name].sent[-1 - back : len(self.boards[name].sent) - back]:
            self.deliver(name, sent[0])

    @rule(name=BOARDS, by=st.sampled_from([1, 2, 100, 2**40]))
    def skip(self, name: str, by: int) -> None:
        """Numbers that its outbox never sends, as after it joined items."""
        board = self.boards[name]
        board.seq = min(board.seq + by, FAR - 1000)

    @rule(name=BOARDS)
    def lose_outbox(self, name: str) -> None:
        board = self.boards[name]
        board.outbox, board.seq = board.outbox + 1, 0

    @rule(name=BOARDS)
    def boot(self, name: str) -> None:
        board = self.boards[name]
        board.boots, board.sequence = board.boots + 1, 0

    @rule(name=BOARDS, back=st.integers(0, 5))
    def report_again(self, name: str, back: int) -> None:
        """An old report that was long on its way."""
        reports = self.boards[name].reports
        if reports:
            self.tell(name, "PUT", self.boards[name].report_path, reports[max(0, len(reports) - 1 - back)])

    @rule(name=BOARDS, online=st.booleans(), connect=st.integers(0, 3))
    def come_or_go(self, name: str, online: bool, connect: int) -> None:
        body = codec.canonical_json(Presence(1, name, online, self.boards[name].epoch, connect))
        with self.speaks(name):
            self.server.hear(Message("presence", name, body, "mqtt"))

    @rule(
        name=BOARDS,
        seen=REVISIONS,
        asked=REVISIONS,
        rollout=st.integers(0, 3),
        outcome=st.sampled_from(["committed", "refused", "in-progress", "superseded"]),
        artifact=st.sampled_from(["mine", "none", "other"]),
        epoch=st.sampled_from(["own", "new", "clone"]),
    )
    def lie(self, name: str, seen: int, asked: int, rollout: int, outcome: str, artifact: str, epoch: str) -> None:
        """A report that is not true: whoever has the token can say it."""
        board, wanted = self.boards[name], self.assigned(name)
        slot = wanted.slots.get("digits") if wanted else None
        which = {"mine": slot.artifact if slot else "", "none": "", "other": "a" * 64}[artifact]
        update = UpdateReport(
            which, "digits", "2", asked, f"r{rollout}" if rollout else "", outcome, requests=5000
        )
        self.said.add((name, f"r{rollout}" if rollout else "")) if outcome == "committed" else None
        slots = {"digits": SlotReport("serving", 9, which, "digits", "2", 1.0, update)}
        other = {"own": {}, "new": {"epoch": f"{name}-lie-{seen}-{asked}"}, "clone": {"epoch": f"{name}-clone"}}[
            epoch
        ]
        data = board.report(self.clock.now(), revision_seen=seen, revision_applied=seen, slots=slots, **other)
        self.tell(name, "PUT", board.report_path, data)

    @rule(name=BOARDS, victim=BOARDS)
    def speak_for(self, name: str, victim: str) -> None:
        """Under its own name about another one."""
        if name != victim:
            board = self.boards[victim]
            answer = self.tell(name, "PUT", self.boards[name].report_path, board.report(self.clock.now()))
            assert answer.status == 400, answer

    # What holds at the end.

    def everybody_arrives(self) -> None:
        """Nobody lies any more: every board gets to what it is assigned, whatever was before."""
        for rollout in self.started:
            self.order("POST", f"/v1/rollouts/{rollout}/cancel")
        for version in "23":
            self.publish(version)
            self.end_release(version, "unretire")
        for name, board in self.boards.items():
            if not board.enrolled:
                continue
            self.boot(name)
            self.enrol(name, "x86-64-avx2", board.tags)
            self.report(board)
            if self.get(f"/v1/devices/{name}", DeviceDetail).device.faults:
                self.mend(name)
                self.report(board)
            self.clock.let_pass(1.0)
            release = "digits@3" if self.serves(name) != "3" else "digits@2"
            self.order("POST", f"/v1/devices/{name}/assign", {"release": release})
            self.live(name, "committed", 40)
            shown = self.get(f"/v1/devices/{name}", DeviceDetail).device
            assert not shown.faults, shown
            assert bool(shown.doubts) == (name in self.doubted), shown
            assert f"digits@{self.serves(name)}" == release, shown
            assert shown.revision == shown.revision_seen == board.revision, shown

    def serves(self, name: str) -> str:
        slots = self.get(f"/v1/devices/{name}", DeviceDetail).device.slots
        return next((slot.version for slot in slots if slot.slot == "digits"), "")


def _doubted(item: Item) -> bool:
    values = item.gauges.values.items() if item.gauges else ()
    return bool(item.window and doubt_window(item.window)) or any(doubt_gauge(*one) for one in values)
