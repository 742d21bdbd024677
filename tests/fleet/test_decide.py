"""`decide` for any plan and any fleet: the laws that hold whatever happens, for any situation and in played rollouts."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Finish, Hold, HoldBack, Pause, RollBack
from edgelift_fleet.rollout.ends import outcomes, tell
from edgelift_fleet.rollout.looking import planned_looks
from edgelift_fleet.rollout.plan import Plan, Wave, parse_waves
from edgelift_fleet.rollout.situation import (
    BAD,
    OUTSIDE,
    TERMINAL,
    UNTOUCHED,
    DeviceSeen,
    GateSeen,
    Observations,
    ServedSoFar,
)
from tests.fleet.played import Play

pytestmark = pytest.mark.fleet

STATUSES = (
    "waiting", "offline", "updating", "committed", "failed", "silent",
    "superseded", "left", "unsuited", "held", "restored", "let-go",
)  # fmt: skip
STATES = ("scheduled", "running", "paused", "rolling-back", "rolled-back", "wave-rolled-back", "done", "cancelled")
NOW = 1000.0
#: What the gate of a wave may have come to, but for a breach.
GATES = (
    None, GateSeen(tested=False), GateSeen(tested=True), GateSeen(tested=True, taken=1),
    GateSeen(tested=True, taken=1, unmeasured=True), GateSeen(tested=True, served=ServedSoFar(ready=False)),
    GateSeen(tested=True, served=ServedSoFar(ready=True)), GateSeen(tested=False, taken=1, unmeasured=True),
)  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    counts = sorted(draw(st.sets(st.integers(1, 8), max_size=2)))
    shares = sorted(draw(st.sets(st.sampled_from([0.1, 0.25, 0.5]), max_size=2)))
    waves = (*(Wave(count=c) for c in counts), *(Wave(share=s) for s in shares), Wave(share=1.0))
    return Plan(
        waves, draw(st.sampled_from([0.0, 5.0])), draw(st.integers(0, 3)), draw(st.sampled_from([50.0, 500.0])),
        max_offline=draw(st.sampled_from([None, None, 0, 2])), keep_earlier=draw(st.booleans()),
        approval=draw(st.sampled_from([False, False, True])),
        on_breach=draw(st.sampled_from(["rollback", "rollback", "pause"])),
        gate_wait_s=draw(st.sampled_from([0.0, 40.0, 3600.0])),
        gate_unmeasured=draw(st.sampled_from(["pause", "advance"])),
    )  # fmt: skip


@st.composite
def situations(draw: st.DrawFn) -> tuple[Plan, Observations]:
    plan = draw(plans())
    everybody = [f"d{n}" for n in range(draw(st.integers(0, 12)))]
    wave = draw(st.integers(-1, len(plan.waves) - 1))
    reached = draw(st.lists(st.sampled_from(everybody), unique=True)) if everybody and wave >= 0 else []
    state = draw(st.sampled_from(STATES))
    devices = [
        DeviceSeen(
            device, draw(st.integers(0, wave)), draw(st.sampled_from(STATUSES)), NOW - draw(st.integers(0, 100)),
            NOW - draw(st.integers(0, 100)), going_back=state == "rolling-back" and draw(st.booleans()),
        )
        for device in reached
    ]  # fmt: skip
    left = {d.device for d in devices if d.status == "left"}
    cohort = [d for d in everybody if d not in left]
    away = frozenset(draw(st.sets(st.sampled_from(cohort)))) if cohort else frozenset()
    back = draw(st.sampled_from(["wave", "all"])) if state == "rolling-back" else ""
    gate = draw(st.sampled_from(GATES))
    return plan, Observations(
        state, wave, cohort, devices, away, {"x1": "r1"}, back, draw(st.integers(1, 4)), gate=gate
    )


@st.composite
def settled(draw: st.DrawFn) -> tuple[Plan, Observations]:
    """Situations in which nearly everybody has committed, so that the next wave may begin as often as not."""
    plan, seen = draw(situations())
    statuses = st.sampled_from(["committed"] * 8 + ["offline", "held", "left"])
    devices = [dataclasses.replace(d, status=draw(statuses), going_back=False) for d in seen.devices]
    left = {d.device for d in devices if d.status == "left"}
    cohort = [d for d in seen.cohort if d not in left]
    return plan, dataclasses.replace(seen, state="running", back="", devices=devices, cohort=cohort)


@settings(max_examples=900)
@given(st.one_of(situations(), settled()))
def test_it_advances_only_over_committed_waves(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    if isinstance(decision, Advance) and seen.wave >= 0:
        assert seen.state in ("running", "scheduled")
        counted = seen.counted()
        # Nobody is under way; who failed is within what the plan puts up with; somebody committed.
        assert not [d for d in counted if d.status in ("waiting", "updating")]
        assert sum(d.status in BAD for d in counted) <= plan.failures_allowed(seen.size())
        assert any(d.status == "committed" for d in counted) or not [d for d in counted if d.wave == seen.wave]
        assert all(d.since + plan.soak_s <= NOW for d in counted if d.status not in ("offline", "held"))
        assert not plan.approval or seen.approved >= seen.wave + 2
        # Nor over a look that is still to be taken, or that could show nothing, unless the plan or a person says so.
        gate = seen.gate
        if gate and gate.tested:
            assert gate.taken >= planned_looks(plan)
            assert not gate.unmeasured or plan.gate_unmeasured == "advance"
    if isinstance(decision, Advance):
        assert decision.wave > seen.wave and decision.devices
        assert not {d.device for d in seen.devices if d.status != "held"} & set(decision.devices)


@settings(max_examples=600)
@given(situations())
def test_only_failures_send_devices_back_and_never_who_is_offline(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    if seen.state not in ("running", "scheduled"):
        return
    failed = sum(d.status in BAD for d in seen.devices)
    breached = failed > plan.failures_allowed(seen.size())
    assert isinstance(decision, RollBack) == (breached and plan.on_breach == "rollback")
    if isinstance(decision, RollBack):
        # All that it changed, or the wave and all that failed; also who left meanwhile or was let go.
        changed = {d.device for d in seen.devices if d.status not in UNTOUCHED}
        wave = {d.device for d in seen.devices if d.wave == seen.wave or d.status in BAD}
        assert set(decision.devices) == (changed & wave if plan.keep_earlier else changed)
        assert decision.reason and decision.scope == ("wave" if plan.keep_earlier else "all")
    # The same with everybody who is offline there and well: nobody goes back for their sake.
    there = [dataclasses.replace(d, status="committed") if d.status == "offline" else d for d in seen.devices]
    assert isinstance(decide(plan, dataclasses.replace(seen, devices=there), NOW), RollBack) == isinstance(
        decision, RollBack
    )


@settings(max_examples=600)
@given(situations())
def test_every_end_names_every_device_once(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    everybody = {*seen.cohort, *seen.elsewhere, *(d.device for d in seen.devices)}
    found = decision.outcomes if isinstance(decision, Finish) else outcomes(seen)
    named = [device for names in found.values() for device in names]
    assert sorted(named) == sorted(everybody)
    assert all(any(name in tell(found) for name in names) for names in found.values())
    if isinstance(decision, Finish) and decision.state == "done" and seen.state != "done":
        assert not {"waiting", "updating", "offline", "held", "unreached"} & set(found)
        assert set(decision.let_go) == {d.device for d in seen.devices if d.status == "offline"}


@settings(max_examples=600)
@given(situations())
def test_a_rollback_ends_only_when_all_are_back(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW + 1e9)  # however long it takes
    if seen.state != "rolling-back":
        return
    at_home = {d.device for d in seen.devices if d.status in (*UNTOUCHED, "let-go") and d.going_back}
    at_home |= {d.device for d in seen.devices if d.status in UNTOUCHED}
    open_ones = {d.device for d in seen.devices} - at_home
    if isinstance(decision, Finish):
        assert decision.state == ("wave-rolled-back" if open_ones else "rolled-back")
        assert not open_ones or seen.back == "wave"
        assert not any(d.going_back for d in seen.devices if d.device in open_ones)
    elif isinstance(decision, RollBack):
        assert set(decision.devices) <= open_ones and decision.devices
    else:
        assert isinstance(decision, Hold) and any(d.going_back for d in seen.devices if d.device in open_ones)


@settings(max_examples=300)
@given(situations(), st.floats(0, 1e6))
def test_what_has_ended_stays_ended_and_a_pause_begins_nothing(
    situation: tuple[Plan, Observations], later: float
) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW + later)
    if seen.state in TERMINAL:
        assert isinstance(decision, Finish) and decision.state == seen.state
    if seen.state == "paused":
        not_begun = {d.device for d in seen.counted() if d.status in ("waiting", "offline")}
        assert isinstance(decision, HoldBack) == bool(not_begun)
        assert (
            set(decision.devices) == not_begun
            if isinstance(decision, HoldBack)
            else decision == Hold("It is paused.")
        )


@settings(max_examples=300)
@given(situations())
def test_it_never_reaches_further_than_its_wave(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    decision = decide(plan, seen, NOW)
    joining = (
        decision.join if isinstance(decision, Hold) else decision.devices if isinstance(decision, Advance) else ()
    )
    if not joining:
        return
    wave = decision.wave if isinstance(decision, Advance) else seen.wave
    heard = sum(d.status not in ("held", "offline", *OUTSIDE) for d in seen.devices)
    assert heard + len(joining) <= plan.waves[wave].reach(len(seen.cohort))
    assert set(joining) <= set(seen.cohort)
    spared = [d for d in seen.free() if d not in joining]
    assert not (set(joining) & seen.away) or not set(spared) - seen.away  # who is there comes first


@settings(max_examples=400, deadline=None)
@given(plans(), st.integers(1, 20), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_played_rollout_keeps_every_law_to_its_end(plan: Plan, size: int, seed: int, p_bad: float) -> None:
    """Devices commit, fail, go off, come back and leave, and a person gives commands, all at random: it ends rightly."""
    play = Play(plan, size, seed, p_bad)
    decision = play.to_the_end()
    everybody = {*play.cohort, *play.reached}
    assert sorted(d for names in decision.outcomes.values() for d in names) == sorted(everybody)
    if decision.state == "rolled-back":
        assert not [d for d in play.reached.values() if d.has_new and not d.released]
    if decision.state == "done":
        silent = [d for d in play.cohort if d not in play.reached]
        assert not silent
        assert sum(d.status in BAD for d in play.reached.values()) <= plan.failures_allowed(len(play.cohort))
    if decision.state in ("rolled-back", "wave-rolled-back") and not play.ordered_back:
        assert play.failed_ever > 0


def test_a_wave_whose_only_device_is_offline_takes_in_one_that_is_there() -> None:
    plan = Plan(parse_waves(["1", "100%"]))
    seen = Observations("running", 0, ["a", "b"], [DeviceSeen("a", 0, "offline", 0.0, 0.0)], frozenset("a"))
    assert decide(plan, seen, 1.0) == Hold("Wave 1 takes in 1 device more.", ("b",))
    alone = dataclasses.replace(seen, away=frozenset("ab"))
    decision = decide(plan, alone, 1e9)  # nobody is there: nothing is learnt, and nothing begins
    assert isinstance(decision, Hold) and not decision.join


def test_more_offline_than_allowed_pauses_and_sends_nobody_back() -> None:
    plan = Plan(parse_waves(["100%"]), max_offline=1)
    devices = [DeviceSeen(d, 0, "offline" if d in "ab" else "committed", 0.0, 0.0) for d in "abcd"]
    decision = decide(plan, Observations("running", 0, list("abcd"), devices), 1.0)
    assert isinstance(decision, Pause) and "a, b" in decision.reason


def test_a_silent_device_is_a_failure_and_an_offline_one_is_let_go_at_the_end() -> None:
    plan = Plan(parse_waves(["100%"]), deadline_s=60)
    devices = [DeviceSeen("a", 0, "committed", 0.0, 0.0), DeviceSeen("b", 0, "offline", 0.0, 0.0)]
    seen = Observations("running", 0, ["a", "b"], devices)
    assert decide(plan, seen, 59.9) == Hold("Waiting for b to come: offline.", until=60.0)
    done = decide(plan, seen, 60.0)
    assert isinstance(done, Finish) and (done.state, done.let_go) == ("done", ("b",)) and "b" in done.reason
    silent = dataclasses.replace(seen, devices=[devices[0], dataclasses.replace(devices[1], status="silent")])
    assert isinstance(decide(plan, silent, 60.0), RollBack)


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
