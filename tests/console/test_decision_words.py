"""What a page promises of a rollout is what the controller's rule decides: for any situation, and in whole sentences."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_fleet.console.pages.decision_words import Prospect, next_step, stopped_by
from edgelift_fleet.messages import LookContrast
from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Compare, Count, Finish, Hold, Pause, RollBack
from edgelift_fleet.rollout.foresight import Alike, assemble, foresee
from edgelift_fleet.rollout.plan import Plan, Wave
from edgelift_fleet.rollout.situation import TERMINAL, GateSeen, Observations
from edgelift_fleet.rollout.windows import parse_window
from tests.fleet.test_decide import NOW, settled, situations

#: 2026-11-28 02:00 UTC.
NIGHT = 1795831200.0


def counted(seen: Observations) -> Observations:
    """The same situation, from counts alone."""
    alike = Counter(
        (d.wave, d.status, d.going_back, d.code, d.tried, d.since, d.assigned_at) for d in seen.devices
    )
    groups = [Alike(*key[:5], number, *key[5:]) for key, number in alike.items()]
    return assemble(groups, state=seen.state, wave=seen.wave, cohort=len(seen.cohort), approved=seen.approved,
                    back=seen.back, gate=seen.gate)  # fmt: skip


@settings(max_examples=150)
@given(st.one_of(situations(), settled()))
def test_counts_alone_lead_to_the_decision_that_devices_lead_to(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    seen = dataclasses.replace(seen, away=frozenset(), elsewhere={})
    real, made = decide(plan, seen, NOW), decide(plan, counted(seen), NOW)
    assert type(real) is type(made)
    match real, made:
        case Advance(wave, devices, _), Advance(other, others, _):
            assert (wave, len(devices)) == (other, len(others))
        case Hold(join=join, until=until, approval=approval), Hold():
            assert (len(join), until, approval) == (len(made.join), made.until, made.approval)
        case Finish(state, _, outcomes, let_go), Finish():
            assert (state, len(let_go)) == (made.state, len(made.let_go))
            assert {k: len(v) for k, v in outcomes.items()} == {k: len(v) for k, v in made.outcomes.items()}


@settings(max_examples=150)
@given(st.one_of(situations(), settled()))
def test_what_is_decided_now_was_told(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    seen = dataclasses.replace(seen, away=frozenset())
    if seen.state in TERMINAL:
        return
    decision = decide(plan, seen, NOW)
    told = next_step(Prospect(plan, counted(seen), "", [], NOW))
    match decision:
        case Advance(wave, devices, _):
            number = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
            assert told.headline.startswith(f"Wave {wave + 1} of {len(plan.waves)} starts with {number} at once")
        case Hold(approval=wave) if wave:
            assert told.headline.startswith(f"Wave {wave} of {len(plan.waves)} starts")
            assert f"a person approves wave {wave}" in [one.text for one in told.conditions]
        case Finish("done"):
            assert told.headline.startswith("The rollout is done at once")
        case Finish("rolled-back" | "wave-rolled-back"):
            assert told.headline == "Every device that goes back is back: it ends now."
        case RollBack() | Pause() if seen.state in ("running", "scheduled"):
            assert " at once: " in told.headline and not told.conditions
        case Compare() | Count():
            assert any(one.holds == "open" for one in told.conditions) or " at once: " in told.headline
        case Hold() if seen.state == "paused":
            assert "until somebody resumes it" in told.headline


@settings(max_examples=150)
@given(st.one_of(situations(), settled()))
def test_what_is_promised_is_decided_once_its_conditions_hold(situation: tuple[Plan, Observations]) -> None:
    plan, seen = situation
    seen = dataclasses.replace(counted(seen), state="running", back="")
    then = foresee(plan, seen, NOW)
    assert then.at >= NOW
    if isinstance(then.decision, Advance) and not stopped_by(Prospect(plan, seen, "", [], NOW)):
        # The devices that are under way commit, the gate finds nothing, and the time comes: by the real rule.
        devices = [
            dataclasses.replace(d, status="committed", since=NOW) if d.status in ("waiting", "updating") else d
            for d in seen.devices
        ]
        gate = (
            dataclasses.replace(seen.gate, taken=9, unmeasured=False)
            if seen.gate and seen.gate.taken < 1
            else seen.gate
        )
        after = dataclasses.replace(seen, devices=devices, gate=gate)
        decision = decide(plan, after, then.at)
        assert isinstance(decision, Advance) or (isinstance(decision, Hold) and decision.join)
        if isinstance(decision, Advance):
            assert (decision.wave, len(decision.devices)) == (then.decision.wave, len(then.decision.devices))


def standing(plan: Plan, groups: list[Alike], state: str = "running", wave: int = 1, **given_: object) -> Prospect:
    contrasts = given_.pop("contrasts", [])
    reason = given_.pop("reason", "")
    seen = assemble(groups, state=state, wave=wave, cohort=40, **given_)
    return Prospect(plan, seen, reason, contrasts, NIGHT)


def group(wave: int, status: str, count: int, ago_s: float = 600.0, **also: object) -> Alike:
    made = {"going_back": False, "code": "", "tried": 0, **also}
    return Alike(wave, status, count=count, since=NIGHT - ago_s, assigned_at=NIGHT - ago_s, **made)


PLAN = Plan((Wave(count=5), Wave(count=20), Wave(share=1.0)), soak_s=1800.0, max_failures=1)
P95 = LookContrast("latency p95", "", 0.012, 0.05, 15, 20, 0.3, -0.008, 0.031)


def text_of(one: Prospect) -> str:
    step = next_step(one)
    told = "; ".join(f"{c.text} [{c.holds}: {c.so_far}]" for c in step.conditions)
    return f"{step.headline} {told} {step.otherwise}".strip()


def test_a_wave_that_soaks_says_when_the_next_one_starts_and_how_it_stands() -> None:
    one = standing(
        PLAN, [group(0, "committed", 5, 4000), group(1, "committed", 15)], gate=GateSeen(True, 2), contrasts=[P95]
    )
    text = text_of(one)
    assert text.startswith("Wave 3 of 3 starts with 20 devices at 02:20 UTC (in 20 min), if ")
    assert "at most 1 of 40 devices fails [yes: 0 so far]" in text
    assert "it has served for 30 min [open: 10 min so far]" in text
    assert "by more than 5 % [open: p95 +1.2 % (−0.8 to +3.1) by look 2 of 6]" in text
    assert "have served 100 requests each by 03:20 UTC, or it pauses" in text
    assert text.endswith("Else every device that it changed goes back to what it had.")


def test_a_wave_that_is_under_way_says_the_earliest_time() -> None:
    text = text_of(standing(PLAN, [group(0, "committed", 5), group(1, "updating", 12), group(1, "committed", 3)]))
    assert text.startswith("Wave 3 of 3 starts with 20 devices at 02:30 UTC at the earliest (in 30 min), if ")
    assert "all of wave 2 that are there serve through their probation [open: 3 of 15 have]" in text


@pytest.mark.parametrize(
    ("plan", "more", "words"),
    [
        ({"approval": True, "soak_s": 0.0}, {"approved": 2}, "Wave 3 of 3 starts with 20 devices at once, if"),
        ({"approval": True, "soak_s": 0.0}, {"approved": 2}, "a person approves wave 3 [open: ]"),
        ({"windows": (parse_window("02:00-04:00"),), "soak_s": 0.0}, {}, "starts with 20 devices as soon as it may, if"),
        ({"windows": (parse_window("02:00-04:00"),)}, {}, "the maintenance window of a device is open, by its own clock"),
        ({"rate_per_min": 3.0}, {}, "no more than 3 begin in a minute"),
        ({"on_breach": "pause"}, {}, "Else it pauses, and a person decides."),
        ({"keep_earlier": True}, {}, "Else this wave goes back to what it had"),
        ({"gate_unmeasured": "advance"}, {"gate": GateSeen(True)}, "or it goes on unmeasured"),
        ({"soak_s": 0.0}, {"state": "paused", "reason": "By ada."}, "Nothing begins until somebody resumes it. Wave 3 of 3"),
        ({"soak_s": 0.0}, {"state": "paused", "gate": GateSeen(True, 1, True)}, "Wave 2 is compared no more then."),
    ],
)  # fmt: skip
def test_every_wait_has_its_words(plan: dict[str, object], more: dict[str, object], words: str) -> None:
    one = standing(
        dataclasses.replace(PLAN, **plan), [group(0, "committed", 5), group(1, "committed", 15)], **more
    )
    assert words in text_of(one)


@pytest.mark.parametrize(
    ("groups", "more", "words"),
    [
        ([group(0, "committed", 2), group(0, "failed", 3)], {"wave": 0},
         "It rolls back at once: 3 of 40 devices failed, 1 allowed."),
        ([group(0, "committed", 2), group(0, "failed", 3)], {"wave": 0, "state": "paused"},
         "as it stands it would stop again at once, for 3 of 40 devices failed, 1 allowed"),
        ([group(0, "failed", 1), group(0, "held", 39)], {"wave": 0, "state": "paused"}, "Nothing begins until somebody"),
        ([group(0, "restored", 3, going_back=True), group(0, "offline", 2, going_back=True)],
         {"wave": 0, "state": "rolling-back", "back": "all"}, "It ends once 2 more devices have again"),
        ([], {"wave": -1, "state": "scheduled"}, "Wave 1 of 3 starts with 5 devices at 06:00 UTC (in 4 h)."),
        ([group(2, "committed", 37), group(2, "offline", 3)], {"wave": 2},
         "when 3 offline devices are let go"),
    ],
)  # fmt: skip
def test_every_state_has_its_words(groups: list[Alike], more: dict[str, object], words: str) -> None:
    plan = dataclasses.replace(PLAN, start_at=NIGHT + 4 * 3600, gates=()) if more["wave"] < 0 else PLAN
    assert words in text_of(standing(plan, groups, **more))
