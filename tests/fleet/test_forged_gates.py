"""What one forged board can do to a gate: little, for boards are ranked, and one is one rank whatever it claims."""

import random
import time
from pathlib import Path

import pytest

from edgelift_contract import codec
from edgelift_fleet.intake import Message
from edgelift_fleet.rollout.gates.wave import Drawn, Rules, judge_wave
from tests.fleet.direct import direct
from tests.fleet.telemetry.conftest import batch, window
from tests.fleet.test_gate_waits import BOARDS, begin, ready, serve

pytestmark = pytest.mark.fleet

RULES = Rules(looks=1, alpha=0.01)
#: As much as a forged board can say: the largest number that `measure` makes of any histogram is far less.
WORST, BEST = {"latency p50": 50.0, "latency p95": 50.0, "error share": 1.0, "silence": 1.0}, {
    "latency p50": -50.0, "latency p95": -50.0, "error share": -1.0, "silence": 0.0,
}  # fmt: skip


def stopped(
    slower: float, seed: int, forged: dict[str, dict[str, float]], members: int = 5, controls: int = 40
) -> bool:
    """Is a wave stopped whose boards are slower by a logarithm, where some boards claim what they like?"""
    chance = random.Random(seed)
    drawn = Drawn({f"m{n}": "a" for n in range(members)}, {f"c{n}": "a" for n in range(controls)}, seed)
    look = {}
    for device in (*drawn.members, *drawn.controls):
        more = slower if device in drawn.members else 0.0
        p50, p95 = (chance.gauss(more, 0.05) for _ in range(2))
        look[device] = {"latency p50": p50, "latency p95": p95, "error share": 0.0, "silence": 0.0}
    return judge_wave(drawn, {1: {**look, **forged}}, RULES).breach


def test_one_board_that_claims_the_worst_stops_no_good_release() -> None:
    assert sum(stopped(0.0, seed, {"m0": WORST}) for seed in range(20)) <= 1


def test_nor_one_control_that_claims_the_best() -> None:
    assert sum(stopped(0.0, seed, {"c0": BEST}) for seed in range(20)) <= 1


@pytest.mark.parametrize("forged", [{"m0": BEST}, {"c0": WORST}], ids=["a perfect member", "a terrible control"])
def test_one_forged_board_hides_no_bad_release(forged: dict[str, dict[str, float]]) -> None:
    assert sum(stopped(0.3, seed, forged, members=8) for seed in range(20)) >= 19


def test_who_says_what_cannot_be_is_left_out_by_name_and_nobody_waits_for_it(site: Path) -> None:
    with direct(site) as fleet:
        ready(fleet)
        rollout, wave = begin(fleet)
        liar, *others = [name for name in BOARDS if name not in wave]
        nonsense = batch(liar, {1: window(time.time(), ok=2**40)}, epoch="lies")
        fleet.take(Message("telemetry", liar, codec.canonical_json(nonsense), "mqtt"))
        serve(fleet, [*wave, *others])
        fleet.look(2)
        shown = fleet.show(rollout)
        assert shown.wave == 2
        (look,) = shown.looks
        assert look.text.endswith(f"; left out, for what they measured can't be: {liar}")
        assert (look.figures.boards, look.figures.controls, look.figures.controls_served) == (3, 8, 8)


def test_a_control_that_was_assigned_something_else_is_none_any_more(site: Path) -> None:
    with direct(site) as fleet:
        ready(fleet)
        _, wave = begin(fleet)
        first, second, *others = [name for name in BOARDS if name not in wave]
        fleet.assignments.assign(first, "digits@3")
        fleet.assignments.clear(second, "digits")
        fleet.assignments.assign(others[0], "digits@3", slot="other")  # which is no business of this slot's
        serve(fleet, [*wave, *others])
        fleet.look(2)
        (look,) = fleet.show("r1").looks
        assert look.text.endswith(
            f"; no controls any more, for something else was assigned to them: {first}, {second}"
        )
        assert (look.figures.boards, look.figures.controls) == (3, len(others))
