"""The gates' statistics: right values by hand and by scipy, and the promise itself, for any numbers."""

import itertools
from math import comb, expm1, inf, log, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, mannwhitneyu, permutation_test

from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_fleet.rollout.gates.compare import differences, ranks, shift
from edgelift_fleet.rollout.gates.draws import COUNTLESS, RANDOM_DRAWS, draw, ways
from edgelift_fleet.rollout.gates.family import p_value, smallest_p
from edgelift_fleet.rollout.gates.looks import follow, spending
from edgelift_fleet.rollout.gates.measure import Reading, Stretch, doubt, log_quantile, measure
from edgelift_fleet.rollout.gates.shares import shares
from edgelift_fleet.rollout.gates.wave import Drawn, Rules, judge_wave
from edgelift_fleet.rollout.gates.words import Contrast, say

pytestmark = pytest.mark.fleet


def strata(*sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(members, controls) of each class as the arrays that the statistics take."""
    member = [flag for n, m in sizes for flag in [True] * n + [False] * m]
    return np.array(member), np.repeat(np.arange(len(sizes)), [n + m for n, m in sizes])


def wave(*sizes: tuple[int, int]) -> Drawn:
    member, stratum = strata(*sizes)
    everyone = [
        (f"d{i:03}", f"class-{c}", bool(is_in)) for i, (is_in, c) in enumerate(zip(member, stratum, strict=True))
    ]
    return Drawn({d: c for d, c, m in everyone if m}, {d: c for d, c, m in everyone if not m}, seed=7)


def judged(drawn, looks, rules):
    return judge_wave(drawn, dict(enumerate(looks, start=1)), rules)


def look(values, series=("latency p95",)):
    """One number a device, the same in each series."""
    return {f"d{i:03}": dict.fromkeys(series, float(v)) for i, v in enumerate(values)}


# Draws


def test_every_way_to_draw_is_listed_where_they_are_few():
    member, stratum = strata((2, 2), (1, 2))
    found = draw(member, stratum, seed=0)
    assert found.exact and len(found) == ways([(2, 2), (1, 2)]) == 18
    assert (found.members[0] == member).all()
    assert len({row.tobytes() for row in found.members}) == 18
    assert (found.members[:, stratum == 0].sum(axis=1) == 2).all() and (
        found.members[:, stratum == 1].sum(axis=1) == 1
    ).all()


def test_the_ways_of_large_waves_are_countless_not_computed():
    assert ways([(50_000, 50_000), (3, 0)]) == ways([(64, 64)]) == COUNTLESS
    assert ways([(63, 1)]) == 64 and shares(0.01, [COUNTLESS, 1]) == (0.01, 0.0)


def test_random_draws_keep_each_class_and_come_again_with_their_seed():
    member, stratum = strata((5, 20), (3, 9), (2, 0), (0, 4))
    found = draw(member, stratum, seed=1)
    assert not found.exact and len(found) == RANDOM_DRAWS + 1
    assert (found.members[0] == member).all()
    for number, n in enumerate((5, 3, 2, 0)):
        assert (found.members[:, stratum == number].sum(axis=1) == n).all()
    assert np.isclose(found.members[1:, stratum == 0].mean(axis=0), 0.2, atol=0.02).all()
    assert (draw(member, stratum, seed=1).members == found.members).all()
    assert (draw(member, stratum, seed=2).members != found.members).any()


# Comparing


def test_ranks_are_shares_ties_share_theirs_and_what_does_not_count_has_none():
    found = ranks(np.array([[5.0, 1.0, 5.0, nan, 9.0], [0.0, 0.0, 0.0, 0.0, 0.0]]))
    assert found.tolist() == [[2.5 / 4, 0.25, 2.5 / 4, 0.0, 1.0], [0.6] * 5]
    assert ranks(np.array([[0.1 + 0.2, 0.3]])).tolist() == [[0.75, 0.75]]  # rounding makes no rank


@pytest.mark.parametrize(("n", "m"), [(2, 9), (3, 7), (4, 8)])
def test_p_is_that_of_scipys_exact_rank_test_and_of_its_permutation_test(n, m):
    values = np.random.default_rng(n).standard_normal(n + m)
    member, stratum = strata((n, m))
    found = draw(member, stratum, seed=0)
    assert found.exact
    p = p_value(differences(found, stratum, values[None])[0][0])
    assert p == pytest.approx(mannwhitneyu(values[:n], values[n:], alternative="greater", method="exact").pvalue)
    by_ranks = values.argsort().argsort() / (n + m)
    oracle = permutation_test(
        (by_ranks[:n], by_ranks[n:]), lambda a, b: np.mean(a) - np.mean(b), n_resamples=inf, alternative="greater"
    )
    assert p == pytest.approx(oracle.pvalue)


def test_random_draws_come_near_the_exact_p():
    values = np.random.default_rng(3).standard_normal(25) + np.repeat([0.8, 0.0], [5, 20])
    member, stratum = strata((5, 20))
    p = p_value(differences(draw(member, stratum, seed=0), stratum, values[None])[0][0])
    exact = mannwhitneyu(values[:5], values[5:], alternative="greater", method="exact").pvalue
    assert p == pytest.approx(exact, abs=4 * (exact / RANDOM_DRAWS) ** 0.5)


def test_classes_together_weigh_as_they_tell_by_hand():
    member, stratum = strata((1, 2), (1, 1))
    values = np.array([[3.0, 1.0, 2.0, 10.0, 20.0]])
    found = differences(draw(member, stratum, seed=0), stratum, values)
    first, second = 1.0 - (1 / 3 + 2 / 3) / 2, 0.5 - 1.0
    assert found[0][0][0] == pytest.approx(first) and found[1][0][0] == pytest.approx(second)
    weights = 1 * 2 / 3, 1 * 1 / 2
    assert found[None][0][0] == pytest.approx((weights[0] * first + weights[1] * second) / sum(weights))


def test_a_draw_without_a_device_that_counts_on_one_side_is_no_finding():
    member, stratum = strata((1, 2))
    found = differences(draw(member, stratum, seed=0), stratum, np.array([[nan, 1.0, 2.0]]))
    assert found[0][0][0] == -inf and p_value(found[0][0]) == 1.0
    assert differences(draw(member, stratum, seed=0), stratum, np.array([[nan, nan, 2.0]])) == {}


def test_the_shift_is_the_median_over_pairs_within_classes():
    member, stratum = strata((2, 2), (1, 1))
    assert shift(member, stratum, np.array([1.0, 2.0, 0.0, 0.5, 7.0, nan])) == pytest.approx(1.25)


# The family and the looks


def test_the_smallest_p_of_a_family_by_hand():
    one, other = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 4.0, 4.0, 0.0])
    assert smallest_p([one, other], 1.0).tolist() == [0.25, 0.5, 0.5, 1.0]


def test_what_says_the_same_or_nothing_costs_nothing():
    values = np.random.default_rng(0).standard_normal(1000)
    alone = follow([smallest_p([values], 0.05)], [0.05])
    silent = np.zeros(1000)
    assert follow([smallest_p([values, values, silent], 0.05)], [0.05]) == alone


def test_looks_spend_what_earlier_ones_left():
    first = np.array([0.3, 0.1, 0.2, *[0.9] * 7])
    second = np.array([0.1, 0.05, 0.05, *[0.9] * 7])  # those that were stopped don't count once more
    # The first look may stop two of ten and would stop draws 1 and 2; the second may stop one more: the wave itself.
    found = follow([first, second], [0.2, 0.3])
    assert [(one.p, one.breach) for one in found] == [(0.3, False), (0.3, True)]
    # Of two equal ones where one may be stopped none is: what is not spent is there for the next look.
    assert [
        one.p
        for one in follow([np.array([0.9, 0.1, 0.1, *[0.9] * 7]), second[[0, 3, 4, *range(3, 10)]]], [0.1, 0.2])
    ] == [1.0, 0.1]
    # Equal ones go together or not at all: three of ten share the smallest p, and two may be stopped.
    tied = follow([np.array([0.3, 0.3, 0.3, *[0.9] * 7])], [0.2])
    assert (tied[0].p, tied[0].breach) == (0.3, False)


def test_alpha_is_spent_evenly_over_the_looks():
    assert spending(0.01, 4) == pytest.approx((0.0025, 0.005, 0.0075, 0.01))


def test_waves_that_can_show_nothing_leave_their_share_to_the_others():
    # 100 boards in waves of 1, 5, 25 and all: the first can be drawn in 100 ways, the last in one.
    counts = [comb(100, 1), comb(99, 4), comb(95, 20), 1]
    assert shares(0.01, counts) == pytest.approx((0.0, 0.005, 0.005, 0.0))
    assert shares(0.01, [300, 300, 300]) == pytest.approx((0.01 / 3,) * 3)
    assert sum(shares(0.01, [299, 300, 300])) == pytest.approx(0.01)
    assert shares(0.01, [99]) == (0.0,)


def test_a_look_that_was_missed_leaves_its_share_to_the_next():
    rules = Rules(watched=("latency",), looks=4, alpha=0.04)
    seen = look([0.9, 0.8] + [0.0] * 8, rules.series)  # the worst of 45 draws: p = 0.022
    assert [judge_wave(wave((2, 8)), {number: seen}, rules).breach for number in (1, 2, 3, 4)] == [
        False,
        False,
        True,
        True,
    ]


# The promise


@settings(max_examples=25, deadline=None)
@given(data=st.data(), alpha=st.sampled_from([0.1, 0.2, 0.34]), looks=st.integers(1, 3))
def test_of_all_ways_to_draw_a_wave_at_most_alpha_are_called_bad_whatever_the_numbers(data, alpha, looks):
    """Exchangeability: the members get the very numbers that they would have had as controls, plus what is allowed."""
    sizes = data.draw(st.sampled_from([[(1, 9)], [(2, 4)], [(1, 4), (1, 2)], [(2, 2), (1, 2)]]))
    count = sum(n + m for n, m in sizes)
    numbers = st.one_of(st.sampled_from([0.0, 1.0, nan]), st.integers(-2000, 2000).map(lambda n: n / 1000))
    row = st.lists(numbers, min_size=count, max_size=count)
    seen = [[data.draw(row), data.draw(row)] for _ in range(looks)]
    rules = Rules(watched=("latency",), looks=looks, alpha=alpha)
    member, stratum = strata(*sizes)
    allowed = rules.allowed("latency p50")
    bad = 0
    every = draw(member, stratum, seed=0).members
    for drawn in every:
        names = {f"d{i:03}": f"class-{c}" for i, c in enumerate(stratum)}
        chosen = {f"d{i:03}" for i in np.flatnonzero(drawn)}
        asked = Drawn({d: names[d] for d in chosen}, {d: c for d, c in names.items() if d not in chosen}, seed=0)
        measured = [
            {
                f"d{i:03}": {
                    "latency p50": p50[i] + allowed * drawn[i],
                    "latency p95": p95[i] + allowed * drawn[i],
                }
                for i in range(count)
            }
            for p50, p95 in seen
        ]
        bad += judged(asked, measured, rules).breach
    assert bad <= alpha * len(every)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-1, 1), min_size=10, max_size=10),
    better=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_a_wave_that_does_better_is_never_worse_off(values, better):
    rules = Rules(watched=("latency",), looks=1, alpha=0.1)
    faster = [v - b for v, b in zip(values, better, strict=False)] + values[3:]
    if judged(wave((3, 7)), [look(faster)], rules).breach:
        assert judged(wave((3, 7)), [look(values)], rules).breach


def test_the_level_is_held_where_all_boards_are_as_slow_as_is_allowed():
    rng = np.random.default_rng(20)
    rules = Rules(watched=("latency",), looks=3, alpha=0.05)
    allowed, alarms, fleets = log(1.05), 0, 400
    for _ in range(fleets):
        lasting = rng.standard_t(2, 12) * 0.1  # heavy tails: odd boards
        raised = [lasting + rng.standard_normal(12) * 0.05 + np.repeat([allowed, 0.0], [4, 8]) for _ in range(3)]
        alarms += judged(wave((4, 8)), [look(r, rules.series) for r in raised], rules).breach
    assert binomtest(alarms, fleets, alternative="greater").proportion_ci(0.99).low <= 0.05
    assert alarms > 0  # it spends what it may


def test_a_release_slow_on_one_class_is_found_there():
    rng = np.random.default_rng(2)
    drawn = wave((5, 20), (5, 20), (5, 20))
    values = rng.standard_normal(75) * 0.07
    values[50:55] += log(1.3)
    verdict = judged(drawn, [look(values, ("latency p50", "latency p95"))], Rules(looks=1))
    assert verdict.breach and verdict.contrasts[0].hardware_class == "class-2"
    assert "on class-2" in verdict.text


# One number per device


def served(values, errors=0):
    histogram = Histogram()
    histogram.record_all(values)
    return Stretch(len(values) + errors, errors, histogram.to_data())


@settings(deadline=None)
@given(seed=st.integers(0, 1000), sd=st.floats(0.1, 1.0), q=st.sampled_from([0.5, 0.95]))
def test_a_quantile_within_its_bucket_is_that_of_the_values(seed, sd, q):
    values = np.exp(np.random.default_rng(seed).standard_normal(2000) * sd + 8)
    right = np.quantile(values, q, method="inverted_cdf")
    assert log_quantile(served(values).latency, q) == pytest.approx(log(right), abs=log(2) / 16)


def test_a_quantile_moves_with_the_values_not_in_steps():
    values = np.exp(np.random.default_rng(0).standard_normal(5000) * 0.25 + 8)
    steps = [log_quantile(served(values * 1.01**i).latency, 0.95) for i in range(8)]
    assert np.diff(steps) == pytest.approx([log(1.01)] * 7, abs=0.003)


def test_a_steady_board_is_known_to_a_bucket_and_a_lively_one_better():
    rng = np.random.default_rng(0)
    assert doubt(served(np.full(100, 5000.0)).latency, 0.5) == pytest.approx(log(2) / 16)
    assert doubt(served(np.exp(rng.standard_normal(3000) * 0.25 + 8)).latency, 0.95) == 0.0
    assert doubt(HistogramData(zeros=5), 0.5) == 0.0


@pytest.mark.parametrize("base", np.linspace(0, 1, 9))
def test_steady_boards_at_one_place_of_their_bucket_do_not_alarm_at_what_is_allowed(base):
    rng = np.random.default_rng(1)
    center = 8 + base * log(2) / 16
    fleet = {}
    for i in range(25):
        moved = log(1.05) if i < 5 else 0.0
        before, since = (
            served(np.exp(center + moves + rng.standard_normal(400) * 0.005)) for moves in (0.0, moved)
        )
        reading = Reading({False: before}, {False: since})
        fleet[f"d{i:03}"] = measure(reading, member=i < 5, min_requests=100)
    assert not judged(wave((5, 20)), [fleet], Rules(looks=1)).breach


def test_latency_is_compared_within_a_throttle_state():
    cool, hot = served([1000.0] * 100), served([3000.0] * 100)
    throttled_since = Reading({False: cool, True: hot}, {True: hot})
    assert measure(throttled_since, member=False, min_requests=50)["latency p95"] == pytest.approx(0.0)
    assert np.isnan(measure(Reading({False: cool}, {True: hot}), member=False, min_requests=50)["latency p95"])


def test_a_device_counts_from_its_least_requests_on():
    few, many = served([1000.0] * 10, errors=2), served([1000.0] * 100)
    found = measure(Reading({False: many}, {False: few}), member=True, min_requests=20)
    assert np.isnan([found["latency p50"], found["latency p95"], found["error share"]]).all()
    found = measure(Reading({False: many}, {False: few}), member=False, min_requests=10)
    assert found["error share"] == pytest.approx(2 / 12) and found["silence"] == 0.0
    nothing = measure(Reading({}, {}, silent=True), member=True, min_requests=0)
    assert nothing["silence"] == 1.0 and np.isnan(nothing["latency p50"])


# Words


def test_a_breach_is_said_with_its_figures_and_its_threshold():
    finding = Contrast("latency p95", "arm64-neon", log(1.31), log(1.05), members=5, controls=20, p=0.0001)
    assert say(finding, 0.0004, 0.0017) == (
        "latency p95 on arm64-neon +31 % (5 boards against 20 controls, p = 0.0004 ≤ 0.0017; allowed +5 %)"
    )
    errors = Contrast("error share", "", 0.021, 0.005, members=1, controls=1, p=0.5)
    assert (
        say(errors, 0.5, 0.01)
        == "error share +2.1 points (1 board against 1 control, p > 0.01; allowed +0.5 points)"
    )


def test_a_wave_with_too_few_devices_states_no_rate():
    verdict = judged(wave((1, 20)), [look(range(21))], Rules())
    assert (verdict.breach, verdict.rate) == (False, None)
    assert verdict.text == (
        "no stated false-alarm rate: too few devices (1 board against 20 controls can be drawn in 21 ways, 100 are "
        "needed). Each board's own guard decides alone."
    )
    last = judged(wave((20, 0)), [look(range(20))], Rules())
    assert last.text == "no stated false-alarm rate: no control is left. Each board's own guard decides alone."


def test_looks_are_numbered_and_a_quiet_one_says_what_came_nearest():
    rules = Rules(looks=6)
    assert judged(wave((5, 20)), [], rules).text == "not looked at yet"
    verdict = judged(wave((5, 20)), [look([0.3] * 3 + [0.0] * 22, rules.series[:2])] * 2, rules)
    assert (verdict.look, verdict.breach, verdict.rate) == (2, False, 0.01)
    assert verdict.text.startswith("look 2 of 6: nothing worse than ")
    assert f"{expm1(0.3) * 100:+.0f} %" in verdict.text


def test_boards_that_fall_silent_in_the_wave_alone_are_a_breach():
    rules = Rules(looks=1)
    fleet = {f"d{i:03}": {"silence": float(i < 4)} for i in range(25)}
    verdict = judged(wave((5, 20)), [fleet], rules)
    assert verdict.breach and verdict.text.startswith(
        "silence on class-0 +80.0 points (5 boards against 20 controls"
    )
    everywhere = {f"d{i:03}": {"silence": float(i % 2)} for i in range(25)}
    assert not judged(wave((5, 20)), [everywhere], rules).breach


def test_thousands_of_boards_are_judged_in_the_same_way():
    numbers = np.random.default_rng(5).standard_normal(3000) * 0.07 + np.repeat([log(1.1), 0.0], [500, 2500])
    assert judged(wave((500, 2500)), [look(numbers, ("latency p50",))], Rules(looks=1)).breach


def test_all_draws_of_a_small_wave_are_judged_alike():
    """By brute force: the p of a look is the share of draws whose smallest p is at most the wave's."""
    drawn, rules = wave((2, 4)), Rules(watched=("latency",), looks=1, alpha=0.34)
    p50, p95 = [0.9, 0.5, 0.1, 0.8, 0.3, 0.0], [0.2, 0.9, 0.3, 0.1, 0.5, 0.4]
    shifted = np.array([p50, p95]) - np.repeat([log(1.05), 0.0], [2, 4])
    pairs = list(itertools.combinations(range(6), 2))
    rank = [np.argsort(np.argsort(row)) for row in shifted]
    sums = [[row[list(pair)].sum() for pair in pairs] for row in rank]
    least = [min(np.mean([other >= row[i] for other in row]) for row in sums) for i in range(len(pairs))]
    expected = np.mean([value <= least[0] for value in least])
    seen = {f"d{i:03}": {"latency p50": p50[i], "latency p95": p95[i]} for i in range(6)}
    assert judged(drawn, [seen], rules).breach == (expected <= 5 / 15)
