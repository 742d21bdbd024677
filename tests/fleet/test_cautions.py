"""What an operator is told before a rollout: boards that nobody asks, waves that can't be compared."""

import pytest

from edgelift.rollout_progress import look_lines, served_so_far
from edgelift_contract.assignment import Policy
from edgelift_fleet.cohorts import Member
from edgelift_fleet.messages import LatencyGroup, LookContrast, LookFigures, Quantiles, RolloutLook, RolloutView
from edgelift_fleet.rollout.cautions import Lately, cautions, span
from edgelift_fleet.rollout.plan import Plan, parse_waves
from edgelift_fleet.rollout.windows import parse_window

pytestmark = pytest.mark.fleet

HOUR_S = 3600.0
BUSY = Policy(probation_min_requests=20)
IDLE = Policy(probation_min_requests=0)
BOARDS = [Member(f"b{n:02}", "neon") for n in range(40)]
IDS = [one.device for one in BOARDS]
#: Five against thirty-five, then all.
WAVES = [IDS[:5], IDS[5:]]


def told(
    served: dict[str, int] | None = None,
    *,
    policy: Policy = BUSY,
    waves=WAVES,
    members=BOARDS,
    filled=IDS,
    **plan: object,
) -> list[str]:
    """What is said of boards that served so many requests in the last hour; of 1,000 each where nothing is said."""
    made = Plan(parse_waves(["1", "100%"]), **plan)
    lately = Lately(HOUR_S, {**dict.fromkeys(filled, 1000), **(served or {})}, frozenset(filled))
    return cautions(made, policy, waves, members, [one.device for one in members], lately)


LAST = (
    "Wave 2 is not compared with others: too few devices, or no control is left. Each device's own guard decides alone "
    "there."
)


def test_of_busy_boards_only_the_last_wave_is_told() -> None:
    assert told() == [LAST]


def test_waves_that_wait_for_a_person_are_told() -> None:
    said = told(approval=True)
    assert said[0] == (
        "Wave 2 begins only when a person approves it (edgelift rollout approve), which no time told here has in it."
    )
    assert said[1:] == [LAST]
    (first, *_) = told(approval=True, waves=[IDS[:5], [], IDS[5:9], IDS[9:]])
    assert first.startswith("Each of the waves 3, 4 begins only when")


def test_boards_without_traffic_are_named_for_they_would_be_silent() -> None:
    said = told({"b07": 0, "b08": 19})
    assert said[0] == (
        "2 devices served too little in the 1 h before: b07, b08. Whoever serves fewer than 20 requests by its deadline "
        "(1 h) is silent, which is a failure. Where boards may go without: --min-requests 0."
    )
    assert told({"b07": 0, "b08": 19}, policy=IDLE) == [LAST]
    assert told({"b08": 19}, deadline_s=2 * HOUR_S) == [LAST]  # by then it will have served them
    (first, *_) = told(filled=IDS[1:])
    assert first.startswith("1 device has nothing in this slot yet: b00.")


def test_a_wave_of_idle_boards_would_not_be_measured_and_what_follows_is_told() -> None:
    idle = dict.fromkeys(IDS[:3], 50)
    assert told(idle, deadline_s=2 * HOUR_S)[1] == (
        "Wave 1 would not be measured: by what they did in the 1 h before, 2 of 5 boards (2 of 5 on neon) and 35 of 35 "
        "controls have served their 100 requests (before the wave 3 boards and 0 controls had not). It waits 1 h for "
        "requests, then the rollout pauses."
    )
    assert any("then it goes on unmeasured" in text for text in told(idle, gate_unmeasured="advance"))
    # The plan puts up with boards without traffic: nobody waits for them, and where too few are left, that is told.
    assert told(idle, policy=IDLE) == [LAST]
    said = told(dict.fromkeys(IDS[:4], 50), policy=IDLE)
    assert said[1].startswith(
        "Wave 1 can't be compared: too few have traffic: 1 of 5 boards and 35 of 35 controls had"
    )


def test_a_first_release_and_slow_boards() -> None:
    (new, last, wave) = told(filled=[])
    assert "nothing in this slot yet" in new and last == LAST and "the slot was empty before" in wave
    slow = told(dict.fromkeys(IDS, 40), gate_min_requests=30, gate_wait_s=60.0)
    assert slow[-1] == (
        "Wave 1 needs about 45 min for 30 requests on each of its devices, and soaks and waits for 1 min at most; then the "
        "rollout pauses."
    )
    assert told(dict.fromkeys(IDS, 40), gate_min_requests=30) == [LAST]


def test_too_few_devices_and_no_gates() -> None:
    assert told(waves=[IDS[:1], IDS[1:]]) == [LAST.replace("Wave 2 is", "Waves 1 and 2 are")]
    assert told(gates=()) == [
        "No wave is compared with others: the plan names no gates. Each device's own guard decides alone."
    ]


def test_what_a_window_bounds_is_told() -> None:
    (_, said) = told(windows=(parse_window("22:00-05:00"),), update_s=600.0)
    assert said.startswith("Windows bound when a device begins, at least 10 min (its probation) before one shuts.")


@pytest.mark.parametrize(("time_s", "text"), [(0, "0 s"), (90, "1.5 min"), (3600, "1 h"), (7 * 86400, "7 d")])
def test_a_length_of_time_for_people(time_s: float, text: str) -> None:
    assert span(time_s) == text


def test_a_look_is_shown_in_figures() -> None:
    worst = LookContrast("latency p50", "arm64-neon", 0.312, 0.05, 4, 146, 0.0004)
    figures = LookFigures(6, 9, 8, 293, 290, 0.0046, 0.005, [worst])
    looks = [
        RolloutLook(1, 2, 0.0, False, False, "", LookFigures()),
        RolloutLook(1, 3, 0.0, True, False, "", figures),
    ]
    view = RolloutView(
        id="r1", release="digits@2", slot="digits", selector="all", waves=["100%"], soak_s=0, max_failures=0, deadline_s=1,
        policy=BUSY, state="running", wave=1, reason="", created_at=0, changed_at=0, cohort=1, reached=1, committed=0,
        failed=0, devices=[], events=[], looks=looks,
    )  # fmt: skip
    gate, contrast = look_lines(view)
    assert gate == (
        "  gate of wave 1, look 3 of 6: worse than allowed; 8/9 boards and 290/293 controls served enough; "
        "p 0.0046 against 0.005"
    )
    assert contrast == "    latency p50  arm64-neon      +31.20% (allowed +5.00%), 4 against 146, p 0.0004"


def test_what_is_served_so_far_is_told_beside_what_is_waited_for() -> None:
    total = Quantiles(500, 24100.0, 40000.0, 1.0, 1.0, 1.0)
    common = {
        "slot": "digits",
        "model": "digits",
        "version": "2",
        "artifact": "a" * 64,
        "windows": 1,
        "start": 0.0,
        "end": 1.0,
    }
    groups = [
        LatencyGroup(
            **common,
            hardware_class="arm64-neon",
            throttled=False,
            ok=490,
            errors=10,
            phases={"total": total},
            steps=[],
        ),
        LatencyGroup(**common, hardware_class="arm64-neon", throttled=True, ok=10, errors=0, phases={}, steps=[]),
    ]
    said = served_so_far(groups)
    assert said == " So far 510 requests, 10 failed; arm64-neon p50 24.1 ms, p95 40 ms."
    assert served_so_far([]) == ""
