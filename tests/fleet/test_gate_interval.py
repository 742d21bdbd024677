"""The interval about a wave's shift: its odds by counting draws, its ends by the test they invert, how often it holds."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from edgelift_fleet.rollout.gates import compare
from edgelift_fleet.rollout.gates.compare import difference_at, pairs_of, shift, sides_of
from edgelift_fleet.rollout.gates.interval import interval, rank_sums
from edgelift_fleet.rollout.gates.wave import Drawn, Rules, judge_wave

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (3, 9), (5, 4)])
def test_the_odds_of_a_rank_sum_are_those_of_all_draws(n: int, m: int) -> None:
    found: Counter[int] = Counter()
    for inside in combinations(range(n + m), n):
        outside = set(range(n + m)) - set(inside)
        found[sum(a > b for a in inside for b in outside)] += 1
    odds = np.array([found[u] for u in range(n * m + 1)]) / found.total()
    assert np.allclose(rank_sums(n, m), odds)


def test_its_ends_are_where_the_rank_sum_test_changes_its_mind() -> None:
    chance = np.random.default_rng(3)
    mine, others = chance.normal(0.3, 1, 7), chance.normal(0, 1, 12)
    member = np.arange(19) < 7
    low, high = interval(member, np.zeros(19, dtype=int), np.concatenate([mine, others])) or (0.0, 0.0)
    for end, inward in ((low, 1e-6), (high, -1e-6)):
        inside = mannwhitneyu(mine - (end + inward), others, method="exact").pvalue
        outside = mannwhitneyu(mine - (end - inward), others, method="exact").pvalue
        assert outside <= 0.05 < inside


@pytest.mark.parametrize(("classes", "boards", "controls"), [(1, 4, 12), (3, 2, 9), (1, 40, 80)])
def test_it_holds_the_true_shift_as_often_as_it_says(classes: int, boards: int, controls: int) -> None:
    chance, size = np.random.default_rng(7), boards + controls
    member = np.tile(np.arange(size) < boards, classes)
    stratum = np.repeat(np.arange(classes), size)
    held = 0
    for _ in range(400):
        values = chance.standard_t(3, classes * size) + 5.0 * stratum + 0.7 * member
        low, high = interval(member, stratum, values) or (-np.inf, np.inf)
        assert low <= shift(member, stratum, values) <= high
        held += low <= 0.7 <= high
    assert held / 400 > 0.93  # 0.95 within what 400 tell


def test_too_few_boards_have_none_and_the_gate_says_so() -> None:
    member = np.arange(21) < 1
    assert interval(member, np.zeros(21, dtype=int), np.arange(21.0)) is None
    assert interval(member, np.zeros(21, dtype=int), np.full(21, np.nan)) is None


def test_differences_are_the_same_where_they_are_too_many_to_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(5)
    stratum, member = np.repeat([0, 1], 40), np.tile(np.arange(40) < 9, 2)
    sides = sides_of(member, stratum, chance.normal(size=80))
    places = [1, 17, pairs_of(sides) // 2, pairs_of(sides)]
    listed = [difference_at(sides, place) for place in places]
    monkeypatch.setattr(compare, "_PAIRS", 1)
    assert [difference_at(sides, place) for place in places] == pytest.approx(listed, abs=1e-8)


def test_a_look_has_it_for_latency_and_errors_and_not_for_silence() -> None:
    chance = np.random.default_rng(1)
    names = [f"d{n}" for n in range(30)]
    numbers = {
        name: {"latency p50": float(chance.normal()), "latency p95": 0.1, "error share": 0.0, "silence": 0.0}
        for name in names
    }
    drawn = Drawn(dict.fromkeys(names[:6], "arm64-neon"), dict.fromkeys(names[6:], "arm64-neon"), 1)
    found = {c.series: c.interval for c in judge_wave(drawn, {1: numbers}, Rules(looks=1)).contrasts}
    low, high = found["latency p50"] or (0.0, 0.0)
    assert low < high and found["latency p95"] == (0.0, 0.0) and found["silence"] is None
