"""A board is late only if somebody listened: outages of the control plane, and clocks that jump, count against none."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_fleet.db import SITE
from edgelift_fleet.devices import begin_listening
from edgelift_fleet.rollout import hearing
from edgelift_fleet.rollout.decide import RETURN_S
from edgelift_fleet.rollout.decisions import Compare, Hold
from edgelift_fleet.rollout.hearing import Hearing
from edgelift_fleet.rollout.looking import planned_looks, watch
from edgelift_fleet.rollout.plan import Plan, parse_waves
from edgelift_fleet.rollout.situation import GateSeen, ServedSoFar
from edgelift_fleet.tables import DeviceRow
from tests.fleet.direct import Direct, direct, ready
from tests.fleet.played_server import Clock

pytestmark = pytest.mark.fleet

HOUR = 3600.0


@pytest.fixture
def fleet(site: Path) -> Iterator[Direct]:
    with direct(site) as made:
        yield made


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    with made.running():
        yield made


def under_way(fleet: Direct, **plan: object) -> str:
    """A rollout of which `a` and `b` have begun, and `c` knows; its id."""
    ready(fleet, "a", "b", "c")
    rollout = fleet.start("digits@2", "100%", max_failures=0, **plan)
    fleet.look()
    fleet.answer("a", "b", outcome="in-progress")
    fleet.say("c")
    fleet.look()
    return rollout


def restart(fleet: Direct) -> None:
    """What a server does that begins to lead."""
    fleet.seen.flush(fleet.db)
    with fleet.db.write(SITE) as session:
        begin_listening(session, fleet.seen, time.time())


@pytest.mark.parametrize("jump_s", [2 * HOUR, 30 * 24 * HOUR])
def test_a_clock_that_jumps_ahead_sends_nobody_back(fleet: Direct, clock: Clock, jump_s: float) -> None:
    rollout = under_way(fleet, deadline_s=HOUR)
    clock.shift_s += jump_s
    fleet.look(2)
    assert fleet.show(rollout).state == "running"
    assert "silent" not in fleet.statuses(rollout).values()
    fleet.say("a", "b", "c")
    fleet.answer("a", "b", "c")
    fleet.look(3)
    assert fleet.show(rollout).state == "done" and fleet.versions("a", "b", "c") == ["2", "2", "2"]


def test_after_a_jump_a_board_has_its_whole_time_and_no_more(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR)
    clock.shift_s += 2 * HOUR
    fleet.look()
    clock.let_pass(HOUR - 60)
    fleet.say("a", "b", "c")
    fleet.look()
    assert fleet.show(rollout).state == "running"
    clock.let_pass(120)
    fleet.say("a", "b", "c")
    fleet.look()
    assert (
        fleet.show(rollout).state == "rolling-back"
        and "a: no answer before its deadline" in fleet.show(rollout).reason
    )


def test_time_that_only_passes_is_no_gap(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR)
    clock.let_pass(HOUR + 1)
    fleet.look()
    assert fleet.show(rollout).state == "rolling-back"


def test_an_outage_of_hours_sends_nobody_back_nor_pauses(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR, max_offline=0)
    fleet.seen.flush(fleet.db)
    clock.let_pass(5 * HOUR)  # the server is down
    restart(fleet)
    fleet.look(2)
    assert fleet.show(rollout).state == "running", fleet.show(rollout).reason
    fleet.say("a", "b", "c")
    fleet.answer("a", "b", "c")
    fleet.look(3)
    assert fleet.show(rollout).state == "done" and fleet.versions("a", "b", "c") == ["2", "2", "2"]


def test_who_does_not_come_back_after_an_outage_counts_as_offline_in_the_end(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR, max_offline=0)
    fleet.go("c")
    fleet.seen.flush(fleet.db)
    clock.let_pass(5 * HOUR)
    restart(fleet)
    fleet.answer("a", "b")
    fleet.look()
    assert fleet.show(rollout).state == "running"
    clock.let_pass(RETURN_S + 1)
    fleet.look()
    assert fleet.show(rollout).state == "paused" and "1 device offline, 0 allowed: c" in fleet.show(rollout).reason


def test_who_is_offline_at_the_end_is_let_go_a_deadline_after_the_outage(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR)
    fleet.go("c")
    fleet.answer("a", "b")
    fleet.look()
    fleet.seen.flush(fleet.db)
    clock.let_pass(5 * HOUR)
    restart(fleet)
    fleet.look(2)
    assert fleet.show(rollout).state == "running"
    clock.let_pass(HOUR + 1)
    fleet.look(2)
    assert fleet.show(rollout).state == "done" and fleet.statuses(rollout)["c"] == "let-go"


def test_a_restart_gives_nobody_more_time(fleet: Direct, clock: Clock) -> None:
    rollout = under_way(fleet, deadline_s=HOUR)
    clock.let_pass(HOUR - 60)
    fleet.say("a", "b", "c")
    clock.let_pass(61)
    restart(fleet)
    fleet.look()
    assert fleet.show(rollout).state == "rolling-back"


def test_a_site_that_never_heard_anybody_has_no_gap(fleet: Direct, clock: Clock) -> None:
    restart(fleet)
    assert fleet.seen.listening_since == 0
    with fleet.db.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(DeviceRow)) == 0


def test_a_gate_waits_for_what_boards_measured_while_nobody_listened() -> None:
    plan = Plan(parse_waves(["1", "100%"]), soak_s=600.0, gate_wait_s=1800.0)
    gate = GateSeen(tested=True, taken=planned_looks(plan) - 1, served=ServedSoFar(ready=False, text="0 of 1."))
    back = 5 * HOUR  # it had soaked after one
    assert isinstance(watch(plan, gate, 0, HOUR, back), Compare)
    waits = watch(plan, gate, 0, HOUR, back, listening_since=back)
    assert isinstance(waits, Hold) and waits.until == back + 1800.0
    assert isinstance(watch(plan, gate, 0, HOUR, back + 1801.0, listening_since=back), Compare)


def test_what_is_a_gap_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(hearing, "steady", lambda: at)
    one, now = Hearing(), 5e8
    assert not one.looked(now)
    for passes, says, gap in ((10, 10, False), (7200, 7200, False), (10, 100, False), (10, -100, False),
                              (10, 140, True), (10, 10, False), (10, -3600, True), (10, 10, False)):  # fmt: skip
        at, now = at + passes, now + says
        assert one.looked(now) is gap, (passes, says)
    for away, gap in ((60, False), (121, True)):
        one.failed()
        at, now = at + away / 2, now + away / 2
        one.failed()
        at, now = at + away / 2, now + away / 2
        assert one.looked(now) is gap
        assert not one.looked(now)
