"""Rollouts that a gate watches: when it looks, what a breach does, what is said where nothing can be compared."""

import random
import signal
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_agent.testing.ports import free_port
from edgelift_contract.assignment import Policy
from edgelift_fleet.messages import RolloutRequest, RolloutView
from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Compare, Count, Finish, Hold, Pause, RollBack
from edgelift_fleet.rollout.looking import looks_due, planned_looks
from edgelift_fleet.rollout.plan import Plan, Wave
from edgelift_fleet.rollout.situation import DeviceSeen, GateSeen, Observations, ServedSoFar
from edgelift_fleet.testing import Behaviour, simulated_fleet
from tests.fleet.conftest import Server, make_site
from tests.fleet.operating import Fleet, Operator, start_fleet

pytestmark = pytest.mark.fleet

PLAN = Plan((Wave(count=2), Wave(share=1.0)), soak_s=600.0, gate_looks=5)
QUIET = GateSeen(tested=True)


def seen(gate: GateSeen | None, wave: int = 0, since: float = 1000.0) -> Observations:
    cohort = [f"d{n}" for n in range(6)]
    reached = cohort[: 2 if wave == 0 else 6]
    devices = [DeviceSeen(d, min(wave, int(n > 1)), "committed", since, 900.0) for n, d in enumerate(reached)]
    return Observations("running", wave, cohort, devices, gate=gate)


def taken(number: int, breach: bool = False, unmeasured: bool = False) -> GateSeen:
    return GateSeen(True, number, breach, f"look {number}", unmeasured)


def having(gate: GateSeen, text: str = "", *, ready: bool = True) -> GateSeen:
    """The same, once it was counted who has served."""
    return replace(gate, served=ServedSoFar(ready, text))


def test_looks_are_due_at_their_times_within_the_soak_and_each_but_once():
    assert [looks_due(PLAN, 1600.0, now) for now in (900, 1000, 1119, 1120, 1599, 1600, 5000)] == [
        0,
        0,
        0,
        1,
        4,
        5,
        5,
    ]
    first = decide(PLAN, seen(QUIET), 1000.0)
    assert isinstance(first, Hold) and first.until == 1120.0
    assert decide(PLAN, seen(QUIET), 1120.0) == Compare(1, 1000.0)
    then = decide(PLAN, seen(taken(1)), 1130.0)
    assert isinstance(then, Hold) and (then.until, "look 1" in then.reason) == (1240.0, True)
    # A server that was away for a while takes the look that is due now, not those that it missed.
    assert decide(PLAN, seen(taken(1)), 1500.0) == Compare(4, 1000.0)
    assert decide(PLAN, seen(having(taken(4))), 1600.0) == Compare(5, 1000.0)
    assert isinstance(decide(PLAN, seen(taken(5)), 1600.0), Advance)


def test_without_a_soak_there_is_one_look_at_the_end_of_the_wave():
    plan = Plan(PLAN.waves, gate_looks=6)
    assert decide(plan, seen(having(QUIET)), 1000.0) == Compare(1, 1000.0)
    assert isinstance(decide(plan, seen(taken(1)), 1000.0), Advance)


def test_the_last_look_waits_for_requests_and_says_for_how_long():
    plan = replace(PLAN, gate_wait_s=1800.0)
    assert decide(plan, seen(taken(4)), 1600.0) == Count(1000.0)  # who has served is counted only when it matters
    lacking = seen(having(taken(4), "3 of 9 boards have served their 100 requests", ready=False))
    waits = decide(plan, lacking, 1600.0)
    assert isinstance(waits, Hold) and waits.until == 3400.0
    assert waits.reason == (
        "Wave 1 is compared when its boards have served enough: 3 of 9 boards have served their 100 requests, needed since "
        "00:26 UTC; waits until 00:56 UTC at most."
    )
    assert decide(plan, lacking, 3399.9) == waits
    assert decide(plan, lacking, 3400.0) == Compare(5, 1000.0)  # with whom there is
    assert decide(replace(plan, gate_wait_s=0.0), lacking, 1600.0) == Compare(5, 1000.0)


def test_what_was_not_measured_is_a_persons_to_judge_unless_the_plan_goes_on():
    unmeasured = seen(taken(5, unmeasured=True))
    paused = decide(PLAN, unmeasured, 5200.0)
    assert paused == Pause("Wave 1 is not measured: look 5. Resume it to go on without.")
    assert isinstance(decide(replace(PLAN, gate_unmeasured="advance"), unmeasured, 5200.0), Advance)
    overruled = seen(replace(taken(5, unmeasured=True), tested=False))
    assert isinstance(decide(PLAN, overruled, 5200.0), Advance)


@given(
    soak_s=st.sampled_from([0.0, 90.0, 600.0]), looks=st.integers(1, 6), wait_s=st.sampled_from([0.0, 45.0, 1000.0]),
    unmeasured=st.sampled_from(["pause", "advance"]), seed=st.integers(0, 10**6), served_at=st.floats(0, 3000),
)  # fmt: skip
def test_no_wave_goes_on_unmeasured_and_no_look_is_taken_twice(
    soak_s: float, looks: int, wait_s: float, unmeasured: str, seed: int, served_at: float
) -> None:
    """A server that looks when it likes, and starts again at any time, at a wave whose boards have served by some time."""
    plan = Plan(PLAN.waves, soak_s, gate_looks=looks, gate_wait_s=wait_s, gate_unmeasured=unmeasured)
    chance, now, gate, looked = random.Random(seed), 1000.0, QUIET, []
    while now < 9000.0:
        decision = decide(plan, seen(gate), now)
        if isinstance(decision, Count):
            counted = having(gate, ready=now >= 1000 + served_at)
            decision = decide(plan, seen(counted), now)
            assert not isinstance(decision, Advance | Count)
        if isinstance(decision, Compare):
            looked.append((decision.look, now))
            last = decision.look == planned_looks(plan)
            gate = taken(decision.look, unmeasured=last and now < 1000 + served_at)
        elif isinstance(decision, Hold):
            assert decision.until > now  # it is never asked again for nothing
        elif isinstance(decision, Advance | Pause):
            break
        now += chance.choice([0.0, 1.0, 30.0, 400.0])
    numbers = [number for number, _ in looked]
    assert numbers == sorted(set(numbers)) and numbers[-1] == planned_looks(plan)
    at = looked[-1][1]
    assert at >= min(1000 + soak_s + wait_s, max(1000 + soak_s, 1000 + served_at))
    measured = at >= 1000 + served_at
    assert isinstance(decision, Advance) == (measured or unmeasured == "advance")


@pytest.mark.parametrize("gate", [None, GateSeen(tested=False, text="no control is left")])
def test_a_wave_that_is_not_compared_waits_for_no_look(gate: GateSeen | None):
    plan = Plan(PLAN.waves)
    assert isinstance(decide(plan, seen(gate), 1000.0), Advance)
    assert isinstance(decide(plan, seen(gate, wave=1), 1000.0), Finish)


def test_a_breach_takes_back_all_that_was_changed_or_pauses_and_says_why():
    back = decide(PLAN, seen(taken(2, breach=True)), 1300.0)
    assert isinstance(back, RollBack) and (back.devices, back.scope) == (("d0", "d1"), "all")
    assert back.reason == "The gate of wave 1 found look 2."
    paused = decide(Plan(PLAN.waves, on_breach="pause"), seen(taken(2, breach=True)), 1300.0)
    assert isinstance(paused, Pause) and paused.reason == back.reason


# Over a real server, with simulated devices

BOARDS = [f"b-{n:02}" for n in range(1, 13)]
AT_ONCE = Policy(probation_s=0.5, probation_min_requests=0, max_latency_ratio=0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    with Server(make_site(tmp_path_factory.mktemp("gates") / "site", releases), "--broker", "none") as made:
        yield made


@pytest.fixture
def operator(shared: Server, request: pytest.FixtureRequest) -> Operator:
    return Operator(shared, f"g{zlib.crc32(request.node.name.encode()):08x}-")


@pytest.fixture
def fleet(shared: Server, operator: Operator) -> Iterator[Fleet]:
    with simulated_fleet(shared.site) as simulator:
        yield Fleet(simulator, operator.prefix)


def tell(fleet: Fleet, slower: dict[str, float], ago_s: float = 0.0) -> None:
    """Every board tells of 300 requests of a moment, the median 500 µs times what is said of its version."""
    for name, device in fleet.devices.items():
        device.behaviour = Behaviour(latency_us={version: 500.0 * by for version, by in slower.items()})
        start = time.time() - ago_s
        window = device.window("digits", requests_made=300 + BOARDS.index(name))
        device.deliver(msgspec.structs.replace(window, start=start, end=start + 0.01))


def begin(operator: Operator, fleet: Fleet, boards: int = 12, **options: object) -> RolloutView:
    start_fleet(fleet, operator, *BOARDS[:boards])
    tell(fleet, {"1": 1.0}, ago_s=100.0)
    request = RolloutRequest(
        "digits@2", f"tag:{operator.prefix}demo", ["3", "100%"], policy=AT_ONCE, seed=5, gate_min_requests=50,
        **{"soak_s": 6.0, **options},
    )  # fmt: skip
    return operator.client.post("/v1/rollouts", request, RolloutView)


def committed(count: int):
    return lambda view: view.committed == count


def gate_events(view: RolloutView) -> list[str]:
    return [event.text for event in view.events if event.kind == "gate"]


def test_a_release_that_is_slower_on_every_board_goes_back_with_its_figures(
    operator: Operator, fleet: Fleet
) -> None:
    rollout = begin(operator, fleet)
    operator.wait(rollout, committed(3))
    tell(fleet, {"1": 1.0, "2": 1.3})
    ended = operator.wait(rollout, "rolled-back")
    assert {d.status for d in ended.devices} == {"restored"} and len(ended.devices) == 3
    assert "The gate of wave 1 found latency p" in ended.reason
    assert "(3 boards against 9 controls, p = 0.0045 ≤ 0.01; allowed +5 %)" in ended.reason
    assert operator.versions(*BOARDS) == ["1"] * 12


def test_a_good_release_goes_on_after_the_look_and_the_last_wave_says_what_it_lacks(operator, fleet) -> None:
    rollout = begin(operator, fleet)
    operator.wait(rollout, committed(3))
    tell(fleet, {"1": 1.2, "2": 1.15})  # the afternoon is hot for all
    done = operator.wait(rollout, "done")
    look, last = gate_events(done)
    assert look.startswith("Wave 1, look 1 of 1: noth")
    assert last == (
        "Wave 2: no stated false-alarm rate: no control is left. Each board's own guard decides alone."
    )
    assert operator.versions(*BOARDS) == ["2"] * 12


def test_too_few_devices_state_no_rate_and_wait_for_no_look(operator, fleet) -> None:
    done = operator.wait(begin(operator, fleet, boards=4, soak_s=0.0), "done")
    assert gate_events(done)[0] == (
        "Wave 1: no stated false-alarm rate: too few devices (3 boards against 1 control can be drawn in 4 ways, 100 are "
        "needed). Each board's own guard decides alone."
    )


def test_a_breach_that_pauses_is_a_persons_to_overrule(operator, fleet) -> None:
    rollout = begin(operator, fleet, on_breach="pause")
    operator.wait(rollout, committed(3))
    tell(fleet, {"1": 1.0, "2": 1.3})
    paused = operator.wait(rollout, "paused")
    assert "The gate of wave 1 found latency" in paused.reason
    assert operator.versions(*BOARDS).count("2") == 3
    operator.order(rollout, "resume", why="It is worth it.")
    done = operator.wait(rollout, "done")
    assert "Wave 1 goes on in spite of its gate, and is compared no more." in gate_events(done)
    assert operator.versions(*BOARDS) == ["2"] * 12


def test_placebos_are_asked_of_controls_once_and_only_they_are_compared(operator, fleet) -> None:
    rollout = begin(operator, fleet, placebo=True)
    view = operator.wait(rollout, committed(3))
    assert "Wave 1: 9 controls swap to what they serve, as placebos." in gate_events(view)
    members = {d.device for d in view.devices}
    for board in set(BOARDS) - members:
        wanted = operator.detail(board).device.slots[0].desired
        assert (wanted.version, wanted.placebo) == ("1", f"{rollout.id}.1")
    tell(fleet, {"1": 1.0, "2": 1.0})
    assert operator.wait(rollout, "done").committed == 12


def test_nothing_is_looked_at_twice_by_a_server_that_starts_again(
    tmp_path: Path, releases: dict[str, Path]
) -> None:
    server = Server(make_site(tmp_path / "site", releases), "--broker", "none", "--port", str(free_port())).start()
    operator = Operator(server, "again-")
    try:
        with simulated_fleet(server.site) as simulator:
            fleet = Fleet(simulator, operator.prefix)
            rollout = begin(operator, fleet, approval=True)
            operator.wait(rollout, committed(3))
            tell(fleet, {"1": 1.0, "2": 1.0})
            operator.wait(rollout, lambda view: len(gate_events(view)) == 1)
            server.stop(signal.SIGKILL)
            server.start()
            operator.wait(rollout, lambda view: "approve" in view.reason)
            operator.order(rollout, "approve")
            done = operator.wait(rollout, "done")
            assert sum("look" in text for text in gate_events(done)) == 1
    finally:
        server.stop()
