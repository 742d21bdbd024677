"""`decide` for any plan and any fleet: what must hold whatever happens."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.decide import (
    TERMINAL,
    Advance,
    DeviceSeen,
    Finish,
    Hold,
    Observations,
    Pause,
    RollBack,
    decide,
)
from edgelift_fleet.rollout.plan import Plan, Wave, parse_waves

pytestmark = pytest.mark.fleet

STATUSES = ("waiting", "updating", "committed", "failed", "superseded", "restored")
NOW = 1000.0


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    counts = sorted(draw(st.sets(st.integers(1, 8), max_size=2)))
    shares = sorted(draw(st.sets(st.sampled_from([0.1, 0.25, 0.5]), max_size=2)))
    waves = (*(Wave(count=c) for c in counts), *(Wave(share=s) for s in shares), Wave(share=1.0))
    return Plan(
        waves, draw(st.sampled_from([0.0, 5.0])), draw(st.integers(0, 3)), draw(st.sampled_from([50.0, 500.0]))
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, Observations]:
    plan = draw(plans())
    cohort = [f"d{n}" for n in range(draw(st.integers(0, 12)))]
    wave = draw(st.integers(-1, len(plan.waves) - 1))
    reached = draw(st.lists(st.sampled_from(cohort), unique=True)) if cohort and wave >= 0 else []
    devices = [
        DeviceSeen(
            device, draw(st.integers(0, wave)), draw(st.sampled_from(STATUSES)), NOW - draw(st.integers(0, 100)),
            NOW - draw(st.integers(0, 100)), going_back=draw(st.booleans()),
        )
        for device in reached
    ]  # fmt: skip
    state = draw(st.sampled_from(["running", "paused", "rolling-back", "rolled-back", "done", "cancelled"]))
    return plan, Observations(state, wave, cohort, devices)


def failures(plan: Plan, seen: Observations) -> int:
    late = ("waiting", "updating")
    return sum(
        d.status == "failed" or (d.status in late and d.assigned_at + plan.deadline_s <= NOW) for d in seen.devices
    )


@settings(max_examples=600)
@given(situations())
def test_it_advances_only_over_committed_waves(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    if isinstance(decision, Advance):
        assert seen.state == "running"
        open_devices = [d for d in seen.devices if d.status != "superseded"]
        bad = [d for d in open_devices if d.status != "committed"]
        # Whoever did not commit is within what the plan puts up with, and has ended; nobody is still under way.
        assert len([d for d in bad if d.status != "restored"]) <= plan.max_failures
        assert all(d.status not in ("waiting", "updating") or d.assigned_at + plan.deadline_s <= NOW for d in bad)
        assert all(d.since + plan.soak_s <= NOW for d in open_devices)
        assert decision.wave > seen.wave and decision.devices
        assert not {d.device for d in seen.devices} & set(decision.devices)


@settings(max_examples=600)
@given(situations())
def test_too_many_failures_roll_the_wave_back(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    breached = seen.state == "running" and failures(plan, seen) > plan.max_failures
    assert isinstance(decision, RollBack) == breached
    if isinstance(decision, RollBack):
        wave = {d.device for d in seen.devices if d.wave == seen.wave and d.status != "superseded"}
        assert wave <= set(decision.devices) and decision.reason
        assert all(d.status != "superseded" for d in seen.devices if d.device in decision.devices)


@settings(max_examples=300)
@given(situations(), st.floats(0, 1e6))
def test_what_has_ended_stays_ended(situation: tuple[Plan, Observations], later: float) -> None:
    plan, seen = situation
    if seen.state in TERMINAL:
        decision = decide(plan, seen, NOW + later)
        assert isinstance(decision, Finish) and decision.state == seen.state
    if seen.state == "paused":
        assert isinstance(decide(plan, seen, NOW + later), Hold)


@settings(max_examples=300)
@given(situations())
def test_it_never_reaches_further_than_its_wave(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    counted = sum(d.status != "superseded" for d in seen.devices)
    if isinstance(decision, Advance):
        assert counted + len(decision.devices) <= plan.waves[decision.wave].reach(len(seen.cohort))
    if isinstance(decision, Hold) and decision.join:
        assert counted + len(decision.join) <= plan.waves[seen.wave].reach(len(seen.cohort))


@settings(max_examples=200)
@given(plans(), st.integers(1, 30), st.integers(0, 2**32), st.floats(0, 0.5))
def test_a_whole_rollout_ends_and_spares_the_rest(plan: Plan, size: int, seed: int, p_bad: float) -> None:
    """Played to the end with random outcomes: it ends, and a bad release stays within one wave and its failures."""
    chance = random.Random(seed)
    cohort = [f"d{n:02}" for n in range(size)]
    bad = {d for d in cohort if chance.random() < p_bad}
    devices: dict[str, DeviceSeen] = {}
    wave, now = -1, 0.0
    for _ in range(500):
        decision = decide(plan, Observations("running", wave, cohort, list(devices.values())), now)
        if isinstance(decision, Advance):
            wave = decision.wave
        if isinstance(decision, (Finish, RollBack, Pause)):
            break
        for name in decision.devices if isinstance(decision, Advance) else decision.join:
            devices[name] = DeviceSeen(name, wave, "waiting", now, now)
        now += 1.0
        for name, d in list(devices.items()):
            if d.status == "waiting" and chance.random() < 0.5:
                devices[name] = DeviceSeen(
                    name, d.wave, "failed" if name in bad else "committed", now, d.assigned_at
                )
    failed = sum(d.status == "failed" for d in devices.values())
    if isinstance(decision, Finish):
        assert set(devices) == set(cohort) and failed <= plan.max_failures
    elif isinstance(decision, RollBack):
        assert failed > plan.max_failures
        assert len(devices) <= plan.waves[wave].reach(size)
        assert all(d.status == "committed" or d.device in bad for d in devices.values() if d.wave < wave)
    else:
        assert isinstance(decision, Pause) and failed


def test_a_silent_device_holds_then_fails() -> None:
    plan = Plan(parse_waves(["1", "100%"]), deadline_s=60)
    seen = Observations("running", 0, ["a", "b"], [DeviceSeen("a", 0, "waiting", 0.0, 0.0)])
    assert isinstance(decide(plan, seen, 59.9), Hold)
    decision = decide(plan, seen, 60.0)
    assert isinstance(decision, RollBack) and decision.devices == ("a",)


@pytest.mark.parametrize(
    ("wave", "cohort", "reach"),
    [
        ("1", 0, 0),
        ("1", 5, 1),
        ("9", 5, 5),
        ("10%", 5, 1),
        ("25%", 8, 2),
        ("25%", 9, 3),
        ("100%", 7, 7),
        ("29%", 100, 29),
    ],
)
def test_what_a_wave_reaches(wave: str, cohort: int, reach: int) -> None:
    (made, *_) = parse_waves([wave, "100%"] if wave != "100%" else [wave])
    assert made.reach(cohort) == reach


@pytest.mark.parametrize(
    "waves", [[], [""], ["x", "100%"], ["1"], ["-1", "100%"], ["150%"], ["1.5", "100%"], ["2", "1", "100%"]]
)
def test_waves_that_are_none(waves: list[str]) -> None:
    with pytest.raises(ContractError) as refused:
        parse_waves(waves)
    assert refused.value.code == "malformed"
