"""What becomes of each board of a rollout, and what looking at it costs: without a network, look by look."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from edgelift.rollout_progress import headline
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.rollout.handing import CHUNK
from edgelift_fleet.tables import AssignmentRow, RolloutRow
from tests.fleet.conftest import both_engines
from tests.fleet.direct import Direct, counted, direct, ready, settle
from tests.fleet.played_server import Clock
from tests.waiting import until

pytestmark = pytest.mark.fleet


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


@pytest.mark.parametrize("when", ["waiting", "going back"])
def test_a_look_costs_the_same_statements_whatever_the_fleet(fleet: Direct, when: str) -> None:
    costs = []
    for size in (10, 200):
        names = [f"b{size}-{n:03}" for n in range(size)]
        fleet.add(*names, hall=str(size))
        rollout = fleet.start("digits@1", "100%", to=f"tag:hall={size}")
        fleet.look(2)
        fleet.answer(*names, outcome="in-progress")
        if when == "going back":
            fleet.order(rollout, "rollback")
        fleet.look(2)
        fleet.work.clear()
        with counted(fleet.db) as look:
            fleet.look()
        # Where nothing changes nothing is written, and no further look is asked for.
        assert not [one for one in look if not one.startswith(("SELECT", "BEGIN"))] and not fleet.work.is_set()
        with counted(fleet.db) as shown:
            fleet.show(rollout, limit=5)
        with counted(fleet.db) as listed:
            fleet.rollouts.list()
        costs.append([len(look), len(shown), len(listed)])
        fleet.order(rollout, "rollback")
        settle(fleet, rollout, *names, looks=2)
    assert costs[0] == costs[1] and max(costs[0]) <= 12, costs


def test_boards_are_told_as_they_are_written(fleet: Direct) -> None:
    names = [f"b{n:03}" for n in range(2 * CHUNK + 50)]
    fleet.add(*names)
    written: list[int] = []

    def count(_: str) -> None:
        with fleet.db.read() as session:
            written.append(session.scalar(sa.select(sa.func.count()).select_from(AssignmentRow)) or 0)

    fleet.changes.subscribe(count)
    fleet.start("digits@1", "100%")
    fleet.look()
    assert sorted(set(written)) == [CHUNK, 2 * CHUNK, len(names)] and sorted(fleet.told) == names


@both_engines
def test_a_board_that_nothing_suited_is_asked_again_once_its_facts_have_changed(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    bare = DeviceFacts("x86-64-avx2", ["x86-64-avx2"], {})
    fleet.enrol("b", facts=bare)  # its runtime is gone
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    assert fleet.statuses(rollout)["b"] == "unsuited"
    fleet.look(2)
    assert fleet.statuses(rollout)["b"] == "unsuited" and fleet.show(rollout).state == "running"
    fleet.enrol("b")
    settle(fleet, rollout, "b", looks=4)
    assert fleet.statuses(rollout) == {"a": "waiting", "b": "committed"} and fleet.versions("b") == ["2"]
    texts = [event.text for event in fleet.show(rollout).events]
    assert "b: Its facts have changed: something of digits@2 suits it by now." in texts
    fleet.order(rollout, "rollback")
    assert settle(fleet, rollout, "a", "b") == "rolled-back"
    assert fleet.versions("a", "b") == ["1", "1"]  # what it goes back to is what it had when it was reached


def test_who_leaves_the_cohort_leaves_its_arithmetic(fleet: Direct) -> None:
    ready(fleet, "a", "b", "c", "d")
    rollout = fleet.start("digits@2", "2,100%")
    fleet.look()
    first = [name for name in "abcd" if name in fleet.statuses(rollout)]
    rest = [name for name in "abcd" if name not in first]
    fleet.answer(*first)
    for name in first:
        fleet.tags[name] = {}
    fleet.say(*first)  # they say so themselves: their share of the wave is free again
    assert settle(fleet, rollout, *rest) == "done"
    assert fleet.statuses(rollout) == {**dict.fromkeys(first, "left"), **dict.fromkeys(rest, "committed")}
    shown = fleet.show(rollout)
    assert (
        shown.events[-1].devices == {"committed": rest, "left": first}
        and "2 of 2 devices committed" in shown.reason
    )


@both_engines
def test_who_is_offline_sends_nobody_back_catches_up_and_is_let_go_by_name(fleet: Direct) -> None:
    clock = Clock()
    with clock.running():
        names = [f"b{n}" for n in range(6)]
        ready(fleet, *names)
        fleet.go("b1", "b4")
        rollout = fleet.start("digits@2", "1,50%,100%", deadline_s=3600.0)
        there = [name for name in names if name not in ("b1", "b4")]
        assert settle(fleet, rollout, *there, looks=6) == "running"
        shown = fleet.show(rollout)
        assert shown.counts == {"committed": 4, "offline": 2} and shown.offline == 2 and "b1, b4" in shown.reason
        assert shown.due_at > time.time() - 3600 and "4 of 6 committed, 0 failed, 2 offline" in headline(shown)
        fleet.come("b1")
        fleet.answer("b1")  # it catches up while the rollout is open
        clock.let_pass(3601.0)
        assert settle(fleet, rollout) == "done"
        assert fleet.statuses(rollout)["b1"] == "committed" and fleet.statuses(rollout)["b4"] == "let-go"
        assert fleet.versions(*there, "b1") == ["2"] * 5
        assert fleet.show(rollout).events[-1].devices["let-go"] == ["b4"] and "b4" in fleet.show(rollout).reason


def test_who_comes_back_late_has_its_time_from_then_on(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    fleet.go("b")
    rollout = fleet.start("digits@2", "100%", deadline_s=1.0)
    fleet.look(2)
    began = time.time()
    fleet.answer("a")
    fleet.look()
    until(lambda: time.time() > began + 0.9)
    fleet.come("b")
    fleet.look()
    assert fleet.statuses(rollout)["b"] == "waiting"
    until(lambda: time.time() > began + 1.1)  # past the deadline of what it was assigned while it was off
    fleet.look()
    assert fleet.statuses(rollout) == {"a": "committed", "b": "waiting"}
    fleet.answer("b")
    assert settle(fleet, rollout, looks=2) == "done"


def test_a_board_that_began_and_fell_silent_is_a_failure(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "100%", deadline_s=0.5)
    fleet.look()
    fleet.answer("a")
    fleet.answer("b", outcome="in-progress")
    fleet.go("b")
    until(lambda: settle(fleet, rollout, looks=1) == "rolling-back")
    assert "b: no answer before its deadline" in fleet.show(rollout).reason
    settle(fleet, rollout, "a", looks=2)
    shown = fleet.show(rollout)
    assert shown.state == "rolling-back" and "rolling-back (1 offline)" in headline(shown) and "b" in shown.reason
    assert fleet.versions("a") == ["1"]


def test_a_board_that_comes_and_goes_holds_no_rollout_for_ever(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "100%", max_failures=1, soak_s=3600, gates=[])
    fleet.look()
    old = fleet.slots["a"]
    fleet.answer("a", "b")
    fleet.look()
    new = fleet.slots["a"]
    since = []
    for _ in range(2):
        for slot in (msgspec.structs.replace(old, update=new.update), new):
            fleet.slots["a"] = slot
            fleet.say("a")
            fleet.look()
            since.append(fleet.statuses(rollout)["a"])
    assert since == ["failed", "committed", "failed", "failed"]
    (shown,) = (one for one in fleet.show(rollout).devices if one.device == "a")
    assert "has served something else 2 times since" in shown.message
    due = fleet.show(rollout).due_at
    fleet.slots["a"] = msgspec.structs.replace(old, update=new.update)
    fleet.say("a")
    fleet.look()
    assert fleet.show(rollout).due_at == due  # its wave soaks on


def test_a_rollout_whose_devices_are_gone_before_it_begins_pauses_and_says_so(fleet: Direct) -> None:
    ready(fleet, "a")
    rollout = fleet.start("digits@2", "100%")
    fleet.tags["a"] = {}
    fleet.say("a")
    fleet.look()
    shown = fleet.show(rollout)
    assert shown.state == "paused" and "No device is selected any more" in shown.reason
    fleet.tags["a"] = {"demo": ""}
    fleet.say("a")
    fleet.order(rollout, "resume")
    assert settle(fleet, rollout, "a") == "done"


def test_what_a_person_orders_between_a_look_and_its_deed_stands(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.go("b")
    with fleet.db.read() as session:
        seen = fleet.controller._look(session, session.get_one(RolloutRow, 1))
    assert seen.found["b"].standing.status == "offline"
    fleet.order(rollout, "let-go", "b")
    assert fleet.controller._act(1, seen) == [] and fleet.statuses(rollout)["b"] == "let-go"
    fleet.answer("a")
    assert settle(fleet, rollout, looks=1) == "done"


def test_a_row_that_cannot_be_read_is_named_and_stops_nobody(fleet: Direct) -> None:
    ready(fleet, "a", "b", "c")
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    with fleet.db.write(SITE) as session:
        session.execute(sa.update(AssignmentRow).where(AssignmentRow.device == "b").values(body="{"))
    fleet.answer("a", outcome="refused")
    fleet.answer("c")
    settle(fleet, rollout, "a", "c")
    shown = fleet.show(rollout)
    assert shown.state == "rolling-back" and "Waiting for b" in shown.reason
    assert fleet.statuses(rollout) == {"a": "restored", "b": "left", "c": "restored"}
    fleet.order(rollout, "let-go", "b")
    assert settle(fleet, rollout, looks=1) == "rolled-back"


@both_engines
def test_a_board_that_tags_itself_into_two_rollouts_stays_with_the_one_that_has_it(fleet: Direct) -> None:
    ready(fleet, "a", "b")
    fleet.tags["b"] = {"other": ""}
    fleet.say("b")
    first, second = fleet.start("digits@2", "100%"), fleet.start("digits@3", "100%", to="tag:other")
    fleet.look(2)
    assert (fleet.statuses(first), fleet.statuses(second)) == ({"a": "waiting"}, {"b": "waiting"})
    for name in ("a", "b"):
        fleet.tags[name] = {"demo": "", "other": ""}
    fleet.say("a", "b")
    fleet.look(2)
    assert (fleet.statuses(first), fleet.statuses(second)) == ({"a": "waiting"}, {"b": "waiting"})
    fleet.answer("a", "b")
    fleet.look(2)
    assert fleet.versions("a", "b") == ["2", "3"]
    told = [[e.text for e in fleet.show(r).events if e.kind == "elsewhere"] for r in (first, second)]
    assert told == [
        [f"b is left to {second}, which has it on the same slot."],
        [f"a is left to {first}, which has it on the same slot."],
    ]
    assert fleet.show(first).events[-1].devices == {"committed": ["a"], "elsewhere": ["b"]}


def test_a_rollout_in_which_nobody_is_left_pauses_and_says_for_whom(fleet: Direct) -> None:
    ready(fleet, "a")
    fleet.add("nano", facts=DeviceFacts("jetson-maxwell", ["jetson-maxwell"], {"onnxruntime": "1.30"}))
    rollout = fleet.start("digits@2", "100%")
    fleet.look()
    fleet.tags["a"] = {}
    fleet.say("a")
    fleet.look()
    shown = fleet.show(rollout)
    assert (shown.state, shown.counts, shown.failed) == ("paused", {"left": 1, "unsuited": 1}, 0)
    assert (
        "1 device can get nothing of it: nano" in shown.reason
        and "1 device is no longer selected: a" in shown.reason
    )


@both_engines
def test_what_is_shown_is_bounded_and_can_be_asked_for_in_pages(fleet: Direct) -> None:
    names = [f"b{n:03}" for n in range(130)]
    fleet.add(*names)
    rollout = fleet.start("digits@1", "100%")
    fleet.look()
    fleet.answer(*names[:7])
    fleet.look()
    shown = fleet.show(rollout)
    assert (len(shown.devices), shown.more, shown.counts) == (100, 30, {"committed": 7, "waiting": 123})
    page = fleet.show(rollout, after="b119")
    assert [d.device for d in page.devices] == names[120:] and page.more == 0
    assert [d.device for d in fleet.show(rollout, status="committed", limit=5).devices] == names[:5]
    assert fleet.show(rollout, status="committed", limit=5).more == 2
    event = next(e for e in shown.events if e.kind == "committed")
    assert event.devices == {"committed": names[:7]} and "b000, b001, b002 and 4 more" in event.text
    assert fleet.show(rollout, events_after=event.seq).events == []


def test_rollouts_of_before_mean_what_they_meant(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "x.db")) as db:
        db.migrate("0006")
        with db.write(SITE) as session:
            tables = sa.MetaData()
            tables.reflect(session.connection(), only=["device", "rollout", "rollout_device"])

            def add(table: str, **values: object) -> None:
                """A row; what isn't named is empty."""
                empty = {c.name: "" if isinstance(c.type, sa.String) else 0 for c in tables.tables[table].columns}
                session.execute(tables.tables[table].insert().values({**empty, **values}))

            add("device", id="a")
            for number, state in ((1, "rolled-back"), (2, "rolled-back"), (3, "rolling-back")):
                add("rollout", number=number, state=state)
            add("rollout_device", rollout=1, device="a", artifact="x", status="committed", assigned_at=7.0)
            add("rollout_device", rollout=2, device="a", status="failed", assigned_at=7.0)
        db.migrate()
        with db.read() as session:
            rollouts = session.execute(sa.text("SELECT state, back FROM rollout ORDER BY number")).all()
            devices = session.execute(sa.text("SELECT status, told_at FROM rollout_device ORDER BY rollout")).all()
    assert [tuple(row) for row in rollouts] == [
        ("wave-rolled-back", "wave"), ("rolled-back", "wave"), ("rolling-back", "wave"),
    ]  # fmt: skip
    assert [tuple(row) for row in devices] == [("committed", 7.0), ("unsuited", 7.0)]
