"""The rounds over a real database: what is judged of real boards and rollouts, kept, told, silenced and sent once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.fleet.alerts.listening import KEY, listening_http, verify
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, counted, direct, ready, settle
from tests.waiting import until

from edgelift_contract import codec
from edgelift_contract.report import Degradation, Report
from edgelift_contract.telemetry import Batch, Gauges, Item
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.answers import Receipt
from edgelift_fleet.alerts.receivers import Receiver, Secret
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.alerts.sender import TRIES, Sender
from edgelift_fleet.alerts.silences import silence, unsilence
from edgelift_fleet.alerts.standing import standing_alerts, troubles_of
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.intake import Message
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages.alerts import AlertMessage, AlertView, SilenceRequest
from edgelift_fleet.tables import (
    AlertDeliveryRow,
    AlertRow,
    DeviceRow,
    IdentityRow,
    RolloutLookRow,
    RolloutWaveRow,
)

pytestmark = pytest.mark.fleet

#: So that times stand for themselves: no jitter between looks.
RULES = AlertSettings(gather_s=0.0, begins_after_s=30.0, ends_after_s=30.0)


class Kept:
    """A receiver that takes what it is sent, or answers what it is told to."""

    where = "here"

    def __init__(self) -> None:
        self.came: list[AlertMessage] = []
        self.answers: list[Receipt] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    def send(self, message: AlertMessage, _secret: str) -> Receipt:
        self.came.append(message)
        self.meanwhile()
        return self.answers.pop(0) if self.answers else Receipt(True, "taken")


def receiver(way: Any, name: str = "ops") -> Receiver:
    return Receiver(name, "webhook", [], 1.0, way, Secret(name))


class World:
    """A control plane with boards, its alerts, and a clock that the test moves."""

    def __init__(self, boards: Direct, lead: Lead, rules: AlertSettings = RULES) -> None:
        self.boards, self.lead, self.way, self.ahead = boards, lead, Kept(), 0.0
        self.signatures: list[str] = []
        self.rounds = self.another(boards.db, lead, boards.seen, rules)
        self.sender = Sender(receiver(self.way), boards.db, lead)

    def another(self, db: Database, lead: Lead, seen: LastSeen, rules: AlertSettings = RULES) -> Rounds:
        around = Around(db, lead, seen, "farm", lambda: "https://f", lambda: self.signatures)
        return Rounds(around, rules, [receiver(self.way)])

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def look(self, after_s: float = 0.0) -> list[AlertMessage]:
        """One round, so many seconds after the last."""
        self.ahead += after_s
        return self.rounds.look(self.now)

    def told(self, after_s: float = 0.0) -> list[tuple[str, str, int]]:
        return [(one.event, one.code, one.count) for one in self.look(after_s)]

    def heard_before(self, seconds: float, *names: str) -> None:
        """These boards were last heard so long ago, and have no connection."""
        self.boards.seen.flush(self.boards.db)
        with self.boards.db.write(SITE) as session:
            wanted = sa.update(DeviceRow).where(DeviceRow.id.in_(names)) if names else sa.update(DeviceRow)
            session.execute(wanted.values(last_seen=self.now - seconds, presence_online=False))

    def standing(self) -> list[AlertView]:
        with self.boards.db.read() as session:
            return standing_alerts(session, self.now, link="https://f")

    def rows(self, kind: Any) -> list[Any]:
        with self.boards.db.read() as session:
            return list(session.scalars(sa.select(kind)))

    def measure(self, device: str, **values: float) -> None:
        at = time.time()
        gauges = Gauges(start=at - 60, end=at, values=values)
        batch = Batch(schema=1, device=device, epoch="o", items=[Item(next(_NUMBERS), gauges=gauges)])
        self.boards.take(Message("telemetry", device, codec.canonical_json(batch), "mqtt"))


_NUMBERS = iter(range(1, 10_000))


@pytest.fixture
def world(site: Path) -> Iterator[World]:
    with direct(site) as boards:
        yield World(boards, boards.controller._lead)


@both_engines
def test_a_fleet_whose_uplink_fails_is_one_message(world: World) -> None:
    names = [f"pi-{n:04}" for n in range(300)]
    world.boards.add(*names)
    assert world.told() == []
    world.heard_before(2000)
    (message,) = world.look()
    assert (message.event, message.code, message.count) == ("begun", "offline", 300)
    assert message.what == "300 boards are silent." and message.subjects == names[:10]
    assert message.where.endswith("pi-0009 and 290 more") and message.link == "https://f/"
    assert world.told(15) == []
    (view,) = world.standing()
    assert (view.state, view.count, len(view.subjects)) == ("told", 300, 100)
    assert len(world.rows(AlertDeliveryRow)) == 1
    world.boards.come(*names)
    assert world.told(15) == [] and world.told(31) == [("ended", "offline", 300)]
    assert world.standing() == [] and world.rows(AlertRow) == []


def test_a_round_costs_the_same_number_of_statements_whatever_the_fleet(world: World) -> None:
    world.boards.add("pi-1")
    world.look()
    with counted(world.boards.db) as few:
        world.look(15)
    world.boards.add(*(f"pi-{n}" for n in range(2, 60)))
    with counted(world.boards.db) as many:
        world.look(15)
    assert len(few) == len(many) < 25


def test_what_boards_say_of_themselves(world: World) -> None:
    world.boards.add("pi-1", "pi-2")
    world.measure("pi-1", soc_temp_c=84.0, throttled=1.0, under_voltage=1.0, disk_free_bytes=1e6)
    part = Degradation("journal", "disk-full", "There is no space.", time.time() - 5)
    report = Report(
        schema=1, device="pi-2", epoch="e", sequence=99, at=time.time(), agent_version="x", degraded=[part]
    )
    world.boards.take(Message("report", "pi-2", codec.canonical_json(report), "mqtt"))
    assert world.told() == world.told(15) == []  # it may be over at once
    told = {one.code: one.what for one in world.look(31)}
    assert told == {
        "hot": "pi-1 is hot: 84 °C.", "throttled": "pi-1 is throttled.", "under-voltage": "pi-1 has too little voltage.",
        "disk-low": "pi-1 has little disk space left: 1 MB free.", "degraded": "pi-2 is degraded: journal: disk-full.",
    }  # fmt: skip
    with world.boards.db.read() as session:
        found = troubles_of(session, ["pi-1", "pi-2", "pi-3"])
    assert [code for code, _, _ in found["pi-2"]] == ["degraded"] and len(found["pi-1"]) == 4
    world.boards.take(
        Message(
            "report",
            "pi-2",
            codec.canonical_json(msgspec.structs.replace(report, sequence=100, degraded=[])),
            "mqtt",
        )
    )
    world.look(15)
    assert ("ended", "degraded", 1) in world.told(31)


def test_certificates_and_boards_that_were_taken_out(world: World) -> None:
    world.boards.add("pi-1", "pi-2")
    now = world.now
    with world.boards.db.write(SITE) as session:
        for number, device in enumerate(("pi-1", "pi-2")):
            session.add(
                IdentityRow(
                    serial=device, device=device, public_key="k", issued_at=now - 80 * 86_400, not_after=now + 3 * 86_400,
                    number=number,
                )
            )  # fmt: skip
    assert world.told() == [("begun", "certificate-ends", 2)]
    world.heard_before(2000)
    with world.boards.db.write(SITE) as session:
        session.execute(
            sa.update(IdentityRow).where(IdentityRow.device == "pi-2").values(revoked_at=now, why="removed")
        )
    (message,) = world.look(15)
    assert (message.code, message.subjects) == ("offline", ["pi-1"])


def test_a_wave_that_waits_for_approval(world: World) -> None:
    names = ["a", "b", "c"]
    ready(world.boards, *names)
    rollout = world.boards.start("digits@2", "1,100%", approval=True, gates=[])
    settle(world.boards, rollout, *names)
    (message,) = world.look()
    assert (message.code, message.severity, message.subjects) == ("needs-approval", "notice", ["r1"])
    assert message.what == (
        "The rollout r1 waits for a person's approval: digits@2: Wave 1 committed; wave 2 waits for a person to approve it."
    )
    assert message.todo == "Look at it, then approve the wave: edgelift rollout approve r1."
    assert message.link == "https://f/rollouts/r1"
    world.boards.order(rollout, "approve")
    settle(world.boards, rollout, *names)
    assert world.told(15) == [("ended", "needs-approval", 1)]


def test_a_gate_that_holds_a_rollout_is_told_with_its_figures(world: World) -> None:
    ready(world.boards, "a", "b")
    rollout = world.boards.start("digits@2", "1,100%", on_breach="pause", gates=[])
    world.boards.look()
    with world.boards.db.write(SITE) as session:
        session.merge(RolloutWaveRow(rollout=1, wave=0, began_at=1.0, alpha=0.01, controls="{}", overruled=False))
        figures = (
            "latency p95 on arm64-neon +31 % (5 boards against 20 controls, p = 0.0004 ≤ 0.0017; allowed +5 %)"
        )
        session.add(
            RolloutLookRow(
                rollout=1, wave=0, number=2, at=1.0, breach=True, text=figures, measured="[]", figures=""
            )
        )
    world.boards.answer("a", "b", outcome="refused")
    world.boards.look(2)
    assert world.boards.show(rollout).state == "paused"
    (message,) = world.look()
    assert (message.event, message.code, message.severity) == ("begun", "gate-breach", "critical")
    assert figures in message.what and message.what.startswith("The rollout r1 was stopped by a gate: digits@2: ")
    world.boards.order(rollout, "resume")
    assert [code for _, code, _ in world.told(15)] == ["gate-breach"]


def test_a_person_who_pauses_is_told_nothing_and_a_pause_by_itself_is(world: World) -> None:
    ready(world.boards, "a", "b")
    rollout = world.boards.start("digits@2", "1,100%", on_breach="pause", gates=[])
    world.boards.order(rollout, "pause", why="lunch")
    world.boards.look()
    assert world.told() == []
    world.boards.order(rollout, "resume")
    world.boards.look()
    world.boards.answer("a", "b", outcome="refused")
    world.boards.look(2)
    (message,) = world.look()
    assert message.code == "rollout-paused" and "It is wrong." in message.what
    world.boards.order(rollout, "cancel")
    assert world.told(15) == [("ended", "rollout-paused", 1)]


def test_a_rollout_that_goes_back_by_itself(world: World) -> None:
    ready(world.boards, "a", "b")
    rollout = world.boards.start("digits@2", "1,100%", gates=[])
    world.boards.look()
    world.boards.answer("a", "b", outcome="refused")
    assert settle(world.boards, rollout, "a", "b") == "rolled-back"
    assert world.told() == [("begun", "rolled-back", 1)]
    assert world.told(4000) == []


def test_signatures_that_end(world: World) -> None:
    world.signatures = ["The role image ends in 3 days."]
    assert world.told() == [("begun", "signature-ends", 1)]
    world.signatures = []
    assert world.told(15) == [("ended", "signature-ends", 1)]


@both_engines
def test_a_silence_of_some_boards_until_its_end(world: World) -> None:
    world.boards.add("pi-1", site="barn")
    world.boards.add("pi-2")
    world.heard_before(2000)
    with world.boards.db.write(SITE) as session:
        made = silence(
            session, SilenceRequest("offline", 3600, "tag:site=barn", why="rewired"), "maria", world.now
        )
    (message,) = world.look()
    assert message.subjects == ["pi-2"]
    (view,) = world.standing()
    assert (view.state, view.count, view.silenced) == ("told", 1, 1)
    with world.boards.db.write(SITE) as session:
        unsilence(session, made.id, world.now)
    assert world.told(601) == []  # of pi-1 nothing is new: who looks sees it
    assert world.standing()[0].count == 2


def test_a_silence_of_all_is_over_by_itself(world: World) -> None:
    world.boards.add("pi-1")
    world.heard_before(2000)
    with world.boards.db.write(SITE) as session:
        silence(session, SilenceRequest("offline", 100), "maria", world.now)
    assert world.told() == []
    assert [view.state for view in world.standing()] == ["silenced"]
    assert world.told(101) == [("begun", "offline", 1)]


def test_a_clock_that_jumps_makes_nobody_silent(world: World) -> None:
    world.boards.add("pi-1")
    world.heard_before(10)
    assert world.told() == []
    assert world.told(100_000) == []  # nobody could be heard: it counts from here
    assert world.told(901) == []  # that was a jump, too
    assert world.told(100) == world.told(100) == []
    for _ in range(7):
        told = world.told(100)
    assert told == [("begun", "offline", 1)]


def test_a_restart_forgets_nothing_and_repeats_nothing(world: World) -> None:
    world.boards.add("pi-1")
    world.heard_before(2000)
    assert world.told() == [("begun", "offline", 1)]
    world.rounds = world.another(world.boards.db, world.lead, world.boards.seen)
    assert world.told(15) == []
    world.boards.come("pi-1")
    world.look(15)
    assert world.told(31) == [("ended", "offline", 1)]


def offline(world: World) -> None:
    world.boards.add("pi-1")
    world.heard_before(2000)
    assert len(world.look()) == 1


def test_a_receiver_that_was_down_gets_it_when_it_is_up(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 500"), Receipt(False, "HTTP 503", retry_after_s=600.0)]
    assert world.sender.send_one(world.now) and not world.sender.send_one(world.now)
    assert world.sender.send_one(world.now + 10) and not world.sender.send_one(world.now + 500)
    assert world.rows(AlertDeliveryRow)[0].error == "HTTP 503"
    assert world.sender.send_one(world.now + 620) and not world.sender.send_one(world.now + 1e6)
    assert [one.id for one in world.way.came] == [world.way.came[0].id] * 3
    assert world.rows(AlertDeliveryRow) == []


def test_one_that_takes_nothing_is_given_up_and_the_others_are_told(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 500")] * TRIES
    at, tries = world.now, 0
    while world.sender.send_one(at):
        at, tries = at + 1200, tries + 1
    assert tries == TRIES and not world.sender.send_one(at + 1e5)
    (row,) = world.rows(AlertDeliveryRow)
    assert row.given_up_at and row.error == "HTTP 500"
    world.ahead = row.given_up_at - time.time()
    (failing,) = [one for one in world.look(15) if one.code == "receiver-failing"]
    assert "A message was given up: HTTP 500" in failing.what and failing.subjects == ["ops"]


def test_one_that_wants_nothing_more_is_tried_once(world: World) -> None:
    offline(world)
    world.way.answers = [Receipt(False, "HTTP 410", gone=True)]
    assert world.sender.send_one(world.now) and not world.sender.send_one(world.now + 1e5)
    assert world.rows(AlertDeliveryRow)[0].given_up_at


def test_a_server_that_ends_while_it_sends_sends_it_again_with_the_same_id(world: World) -> None:
    offline(world)

    class Ended(BaseException):
        pass

    def end() -> None:
        raise Ended

    world.way.meanwhile = end
    with pytest.raises(Ended):
        world.sender.send_one(world.now)
    world.way.meanwhile = lambda: None
    after = Sender(receiver(world.way), world.boards.db, world.lead)
    assert not after.send_one(world.now + 5)  # the other one may still be sending
    assert after.send_one(world.now + 60) and not after.send_one(world.now + 1e5)
    assert world.way.came[0].id == world.way.came[1].id and len(world.way.came) == 2


def test_what_a_clock_wrote_that_has_jumped_back_is_sent(world: World) -> None:
    offline(world)
    with world.boards.db.write(ROWS) as session:
        session.execute(sa.update(AlertDeliveryRow).values(next_at=world.now + 1e8, taken_until=world.now + 1e8))
    assert world.sender.send_one(world.now)


def test_too_many_that_wait_are_given_up_and_a_receiver_that_is_gone_has_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgelift_fleet.alerts.keep.MAX_WAITING", 2)
    world.boards.add("pi-1")
    for _ in range(3):
        world.signatures = [*world.signatures, "x"] if not world.signatures else []
        world.look(15)
    waiting = sorted((row.made_at, bool(row.given_up_at)) for row in world.rows(AlertDeliveryRow))
    assert [given_up for _, given_up in waiting] == [True, False, False]
    world.rounds = Rounds(
        Around(world.boards.db, world.lead, world.boards.seen, "farm", lambda: "", list), RULES, []
    )
    world.look(15)
    assert world.rows(AlertDeliveryRow) == []


def test_another_leader_goes_on_and_what_is_taken_is_sent_by_one(postgres_url: str) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(closing(Database(postgres_url))) for _ in range(2))
        one.migrate()
        first, second = Lead(one), Lead(two)
        stack.enter_context(first)
        assert first.wait(60)
        world = World(Direct(one, first), first)
        offline(world)
        stack.enter_context(second)
        other = Sender(receiver(world.way), two, second)

        def change() -> None:
            first.__exit__()
            until(lambda: second.leads)
            assert not other.send_one(world.now)  # it is under way

        world.way.meanwhile = change
        assert world.sender.send_one(world.now)  # and is noted as sent though another one leads by now
        world.way.meanwhile = lambda: None
        assert not other.send_one(world.now + 1e5)
        world.rounds = world.another(two, second, LastSeen())
        assert world.told(15) == []
        assert len(world.way.came) == 1


def test_a_receiver_that_hangs_delays_no_other_one(world: World, tmp_path: Path) -> None:
    with listening_http() as http, ExitStack() as stack:
        hangs, stays = Kept(), threading.Event()
        hangs.meanwhile = stays.wait
        (tmp_path / "secret").write_text(KEY)
        (tmp_path / "secret").chmod(0o600)
        from edgelift_fleet.alerts.webhook import Webhook

        good = Receiver(
            "good", "webhook", [], 5.0, Webhook(http.url, "", 5.0, None), Secret("good", tmp_path / "secret")
        )
        around = Around(world.boards.db, world.lead, world.boards.seen, "farm", lambda: "", list)
        rounds = stack.enter_context(
            Rounds(around, msgspec.structs.replace(RULES, every_s=0.02), [receiver(hangs, "bad"), good])
        )
        stack.callback(stays.set)
        world.boards.add("pi-1")
        world.heard_before(2000)
        until(lambda: http.came and hangs.came, "both were asked")
        assert verify(http.came[0][1], http.came[0][2]) == hangs.came[0].id
        world.boards.come("pi-1")
        assert rounds is not None


def test_the_threads_end_with_their_block(world: World) -> None:
    before = threading.active_count()
    with world.another(world.boards.db, world.lead, world.boards.seen):
        assert threading.active_count() == before + 2
    until(lambda: threading.active_count() == before)
