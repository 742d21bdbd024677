"""What a wave that has served does next, for all that its gate may have come to: each rule of `looking`, both ways."""

import dataclasses
import itertools

import pytest

from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Compare, Count, Finish, Hold, HoldBack, Pause, RollBack
from edgelift_fleet.rollout.looking import clock, looks_due, next_look_at, planned_looks, watch
from edgelift_fleet.rollout.plan import Plan, Wave
from edgelift_fleet.rollout.situation import DeviceSeen, GateSeen, Observations, ServedSoFar
from edgelift_fleet.rollout.windows import parse_window

pytestmark = pytest.mark.fleet

#: A wave of three has been committed since SINCE; it soaks for ten minutes, with five looks, and waits for half an hour.
SINCE, SOAK, WAIT = 1000.0, 600.0, 1800.0
PLAN = Plan((Wave(count=3), Wave(share=1.0)), soak_s=SOAK, gate_looks=5, gate_wait_s=WAIT)
SOAKED, ENDS = SINCE + SOAK, SINCE + SOAK + WAIT
READY, LACKING = ServedSoFar(True, "all have"), ServedSoFar(False, "few have")


def seen(gate: GateSeen | None, **changes: object) -> Observations:
    cohort = [f"d{n}" for n in range(9)]
    devices = [DeviceSeen(name, 0, "committed", SINCE, 900.0) for name in cohort[:3]]
    return dataclasses.replace(Observations("running", 0, cohort, devices, gate=gate), **changes)


def expected(plan: Plan, gate: GateSeen | None, now: float) -> type:
    """What docs/gates.md says, written down once more and otherwise."""
    soaked = now >= SOAKED
    if gate is not None and gate.breach:
        return RollBack if plan.on_breach == "rollback" else Pause
    if gate is None or not gate.tested:
        return Advance if soaked else Hold
    if gate.taken == 5:  # all that there are
        if gate.unmeasured and plan.gate_unmeasured == "pause":
            return Pause
        return Advance if soaked else Hold
    if not soaked:
        return Compare if gate.taken < int((now - SINCE) / 120) else Hold
    if gate.served is None:
        return Count
    return Compare if gate.served.ready or now >= ENDS else Hold


@pytest.mark.parametrize("on_breach", ["rollback", "pause"])
@pytest.mark.parametrize("unmeasured", ["pause", "advance"])
def test_a_wave_that_has_served_does_what_its_gate_asks_for(on_breach: str, unmeasured: str):
    plan = dataclasses.replace(PLAN, on_breach=on_breach, gate_unmeasured=unmeasured)
    gates: list[GateSeen | None] = [None]
    for tested, taken, breach, lacked in itertools.product((True, False), range(6), (True, False), (True, False)):
        for served in (None, READY, LACKING):
            gates.append(GateSeen(tested, taken, breach, f"look {taken}", lacked, served))
    moments = (SINCE, 1119.9, 1120.0, 1359.0, 1360.0, 1599.9, SOAKED, 1600.1, ENDS - 0.1, ENDS, ENDS + 1e6)
    reached = set()
    for gate, now in itertools.product(gates, moments):
        decision = decide(plan, seen(gate), now)
        assert type(decision) is expected(plan, gate, now), (gate, now, decision)
        reached.add(type(decision))
        if isinstance(decision, Hold):
            assert decision.until > now and not decision.join  # time alone changes it, and it says when
        if isinstance(decision, Compare):
            assert decision.since == SINCE and decision.look == (5 if now >= SOAKED else int((now - SINCE) / 120))
        if isinstance(decision, Count):
            assert decision.since == SINCE
        if isinstance(decision, Advance):
            assert decision.wave == 1 and len(decision.devices) == 6
            compared = gate is not None and gate.tested and gate.taken
            assert (f", compared at look {gate.taken if gate else 0};" in decision.reason) == bool(compared)
    assert reached >= {Advance, Hold, Compare, Count}


def test_a_hold_says_for_what_it_waits_and_until_when():
    soaking = decide(PLAN, seen(GateSeen(True, 2, text="look 2 of 5")), 1250.0)
    assert soaking == Hold("Wave 1 soaks for 600 s. Compared: look 2 of 5.", until=1360.0)
    last = decide(PLAN, seen(GateSeen(True, 4, text="x")), 1590.0)
    assert isinstance(last, Hold) and last.until == SOAKED
    untested = decide(PLAN, seen(GateSeen(False)), 1250.0)
    assert untested == Hold("Wave 1 soaks for 600 s.", until=SOAKED)
    waits = decide(PLAN, seen(GateSeen(True, 4, served=LACKING)), SOAKED)
    assert isinstance(waits, Hold) and waits.until == ENDS and ": few have, needed since 00:26 UTC" in waits.reason


@pytest.mark.parametrize("status", ["waiting", "updating"])
def test_no_look_is_taken_while_a_board_of_the_wave_is_under_way(status: str):
    devices = [*seen(None).devices[:2], DeviceSeen("d2", 0, status, SINCE, 900.0)]
    for gate in (GateSeen(True), GateSeen(True, 5), None):
        held = decide(PLAN, seen(gate, devices=devices), ENDS)
        assert isinstance(held, Hold) and "d2" in held.reason and held.until in (0.0, 900.0 + PLAN.deadline_s)


def test_who_is_offline_neither_delays_a_look_nor_counts_for_its_time():
    devices = [*seen(None).devices[:2], DeviceSeen("d2", 0, "offline", ENDS, 900.0)]
    assert decide(PLAN, seen(GateSeen(True), devices=devices), 1120.0) == Compare(1, SINCE)
    later = [*devices[:2], DeviceSeen("d2", 0, "committed", 1100.0, 900.0)]
    assert isinstance(
        decide(PLAN, seen(GateSeen(True), devices=later), 1120.0), Hold
    )  # its soak begins with its commit
    assert decide(PLAN, seen(GateSeen(True), devices=later), 1220.0) == Compare(1, 1100.0)


def test_a_breach_is_heard_before_all_else_and_more_failures_before_it():
    breach = GateSeen(True, 2, breach=True, text="latency +31 %")
    for status in ("committed", "updating", "offline"):
        devices = [DeviceSeen(f"d{n}", 0, status, SINCE, 900.0) for n in range(3)]
        stopped = decide(PLAN, seen(breach, devices=devices), 1300.0)
        assert isinstance(stopped, RollBack) and stopped.reason == "The gate of wave 1 found latency +31 %."
        assert stopped.devices == ("d0", "d1", "d2")
    failed = [DeviceSeen("d0", 0, "failed", SINCE, 900.0, "boom"), *seen(None).devices[1:]]
    assert "1 device failed" in decide(PLAN, seen(breach, devices=failed), 1300.0).reason
    for state in ("paused", "rolling-back"):
        kept = decide(PLAN, seen(breach, state=state, back="all" if state == "rolling-back" else ""), 1300.0)
        assert isinstance(kept, Hold if state == "paused" else RollBack)


def test_with_approval_a_wave_is_compared_first_and_then_waits_for_a_person():
    plan = dataclasses.replace(PLAN, approval=True)
    assert decide(plan, seen(GateSeen(True, 4, served=READY)), SOAKED) == Compare(5, SINCE)
    waits = decide(plan, seen(GateSeen(True, 5, text="look 5")), SOAKED)
    assert isinstance(waits, Hold) and "waits for a person to approve it" in waits.reason
    assert isinstance(decide(plan, seen(GateSeen(True, 5), approved=2), SOAKED), Advance)
    assert isinstance(decide(plan, seen(GateSeen(True, 5), approved=1), SOAKED), Hold)


def test_the_last_wave_is_done_after_its_gate_too():
    plan = dataclasses.replace(PLAN, waves=(Wave(share=1.0),))
    only = {"cohort": ["d0", "d1", "d2"]}
    assert isinstance(decide(plan, seen(GateSeen(True, 4), **only), SOAKED), Count)
    assert isinstance(decide(plan, seen(GateSeen(True, 5), **only), SOAKED), Finish)
    assert isinstance(decide(plan, seen(GateSeen(True, 5, unmeasured=True), **only), SOAKED), Pause)


def test_what_was_held_back_is_asked_again_before_the_next_look():
    devices = [*seen(None).devices[:2], DeviceSeen("d2", 0, "held", SINCE, 900.0)]
    again = decide(PLAN, seen(GateSeen(True), devices=devices), SOAKED)
    assert isinstance(again, Hold) and again.join == ("d2",)
    paused = decide(PLAN, seen(GateSeen(True), state="paused", devices=[
        DeviceSeen("d0", 0, "waiting", SINCE, 900.0), *devices[1:]]), SOAKED)  # fmt: skip
    assert isinstance(paused, HoldBack) and paused.devices == ("d0",)


@pytest.mark.parametrize(
    ("soak_s", "asked", "planned"),
    [(0.0, 6, 1), (59.9, 6, 1), (119.9, 6, 1), (120.0, 6, 2), (3600.0, 6, 6), (600.0, 1, 1)],
)
def test_how_many_looks_are_planned(soak_s: float, asked: int, planned: int):
    assert planned_looks(dataclasses.replace(PLAN, soak_s=soak_s, gate_looks=asked)) == planned


def test_looks_come_at_equal_distances_and_the_next_is_said():
    for now, due, after in ((999.0, 0, 1120.0), (1000.0, 0, 1120.0), (1120.0, 1, 1240.0), (1599.0, 4, 1600.0)):
        assert (looks_due(PLAN, SOAKED, now), next_look_at(PLAN, SOAKED, now)) == (due, after)
    assert looks_due(PLAN, SOAKED, SOAKED) == looks_due(PLAN, SOAKED, 1e9) == 5
    assert watch(PLAN, GateSeen(True, 1), 0, SOAKED, 1239.9) is None
    assert watch(PLAN, GateSeen(True, 1), 0, SOAKED, 1240.0) == Compare(2, SINCE)


def test_a_time_has_its_date_where_the_day_is_another():
    assert clock(86400.0 + 60, 86400.0) == clock(86460.0) == "00:01 UTC"
    assert clock(86400.0, 86399.0) == "1970-01-02 00:00 UTC"


def test_as_many_offline_as_allowed_are_put_up_with_and_one_more_pauses():
    plan = dataclasses.replace(PLAN, max_offline=1)
    for offline, kind in ((1, Advance), (2, Pause)):
        devices = [
            DeviceSeen(f"d{n}", 0, "offline" if n < offline else "committed", SINCE, 900.0) for n in range(3)
        ]
        assert isinstance(decide(plan, seen(None, devices=devices), SOAKED), kind)


def test_a_wave_in_which_nobody_committed_is_no_ground_to_go_on():
    failed = [DeviceSeen(f"d{n}", 0, "failed", SINCE, 900.0) for n in range(3)]
    plan = dataclasses.replace(PLAN, max_failures=3)
    assert decide(plan, seen(None, devices=failed), ENDS) == Pause("Not one device of wave 1 committed.")
    offline = [DeviceSeen(f"d{n}", 0, "offline", SINCE, 900.0) for n in range(3)]
    nobody = frozenset(f"d{n}" for n in range(9))
    for now in (SOAKED, 1e9):  # nothing is proven: a deadline alone proves nothing either
        waits = decide(plan, seen(None, devices=offline, away=nobody), now)
        assert (
            isinstance(waits, Hold) and "Every device of wave 1 is offline" in waits.reason and waits.until == 0.0
        )
    proven = [DeviceSeen("d8", 0, "committed", SINCE, 900.0), *(dataclasses.replace(d, wave=1) for d in offline)]
    at = 900.0 + plan.deadline_s
    three = dataclasses.replace(plan, waves=(Wave(count=1), Wave(count=4), Wave(share=1.0)))
    second = seen(None, devices=proven, away=nobody - {"d8"}, wave=1)
    held = decide(three, second, at - 1)
    assert isinstance(held, Hold) and held.until == at
    assert isinstance(decide(three, second, at), Advance)


def test_a_release_that_fails_goes_back_before_a_window_holds_anybody_back():
    plan = dataclasses.replace(PLAN, windows=(parse_window("01:00-02:00"),), update_s=600.0)
    devices = [DeviceSeen("d0", 0, "failed", SINCE, 900.0), DeviceSeen("d1", 0, "waiting", SINCE, 900.0)]
    assert isinstance(decide(plan, seen(None, devices=devices[1:]), 3 * 3600.0), HoldBack)
    stopped = decide(plan, seen(None, devices=devices), 3 * 3600.0)
    assert isinstance(stopped, RollBack) and stopped.devices == ("d0", "d1")


def test_a_deadline_that_has_come_is_no_time_to_wait_for():
    devices = [DeviceSeen("d0", 0, "updating", SINCE, 900.0), DeviceSeen("d1", 0, "updating", SINCE, 1000.0)]
    only = dataclasses.replace(PLAN, waves=(Wave(count=2), Wave(share=1.0)))
    at = 900.0 + PLAN.deadline_s
    untils = [decide(only, seen(None, devices=devices), now).until for now in (at - 1, at, at + 100)]
    assert untils == [at, at + 100, 0.0]


def test_keeping_earlier_waves_takes_back_this_one_and_whoever_failed_before():
    plan = dataclasses.replace(PLAN, keep_earlier=True, waves=(Wave(count=2), Wave(count=4), Wave(share=1.0)))
    devices = [
        DeviceSeen("d0", 0, "committed", SINCE, 900.0), DeviceSeen("d1", 0, "failed", SINCE, 900.0),
        DeviceSeen("d2", 1, "committed", SINCE, 900.0),
    ]  # fmt: skip
    stopped = decide(plan, seen(None, devices=devices, wave=1), SOAKED)
    assert isinstance(stopped, RollBack) and (stopped.devices, stopped.scope) == (("d1", "d2"), "wave")
