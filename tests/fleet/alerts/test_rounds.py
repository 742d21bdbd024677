"""The leader's rounds over a real database: what is judged of real boards and rollouts, kept, told and silenced."""

from __future__ import annotations

import time

import msgspec
import pytest
import sqlalchemy as sa
from tests.fleet.alerts.world import RULES, World
from tests.fleet.alerts.world import world as world
from tests.fleet.conftest import both_engines
from tests.fleet.direct import counted, ready, settle

from edgelift_contract import codec
from edgelift_contract.report import Degradation, Report
from edgelift_fleet.alerts.silences import silence, unsilence
from edgelift_fleet.alerts.standing import troubles_of
from edgelift_fleet.db import SITE
from edgelift_fleet.intake import Message
from edgelift_fleet.messages.alerts import SilenceRequest
from edgelift_fleet.needs import Need, TroubleWatch
from edgelift_fleet.tables import (
    AlertDeliveryRow,
    AlertRow,
    IdentityRow,
    RolloutLookRow,
    RolloutWaveRow,
)

pytestmark = pytest.mark.fleet


@both_engines
def test_a_fleet_whose_uplink_fails_is_one_message(world: World) -> None:
    names = [f"pi-{n:04}" for n in range(300)]
    world.boards.add(*names)
    assert world.told() == []
    world.heard_before(2000)
    (message,) = world.look()
    assert (message.event, message.code, message.count) == ("begun", "offline", 300)
    assert message.what == "300 boards are offline." and message.subjects == names[:10]
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
            sa.update(IdentityRow)
            .where(IdentityRow.device == "pi-2")
            .values(revoked_at=now, why="removed", number=2)
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


@both_engines
def test_the_console_finds_at_once_what_is_told_once_it_has_lasted(world: World) -> None:
    world.boards.add("pi-1", "pi-2", "pi-3")
    world.measure("pi-1", soc_temp_c=84.0)
    world.measure("pi-2", soc_temp_c=86.0)
    world.boards.go("pi-3")
    with world.boards.db.write(SITE) as session:
        silence(session, SilenceRequest("hot", 3600, "id:pi-2"), "maria", world.now)
        held = silence(session, SilenceRequest("hot", 7200, "id:pi-2"), "maria", world.now)
    assert world.told() == []

    def needs() -> dict[str, Need]:
        with world.boards.db.read() as session:
            found = TroubleWatch(RULES).look(session, world.boards.seen, world.now)
            assert found.silenced == {("hot", "pi-2"): held.until}
            return {one.code: one for one in found.needs()}

    hot = needs()["hot"]
    assert needs().keys() == {"hot", "offline"} and (hot.first, hot.silenced) == (["pi-1", "pi-2"], 1)
    assert world.told(31) == [("begun", "hot", 1)]
    assert 0 < needs()["hot"].since < world.now - 20  # since when, as far as the alerts know it


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
