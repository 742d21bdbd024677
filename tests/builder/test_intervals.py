"""The intervals are those of their papers: known figures, laws, and coverage by exact enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_builder.judge.intervals import Z, mean_t, median, tango, tango_nuisance, tango_samples, wilson
from edgelift_builder.judge.judgement import judge, verdict
from edgelift_builder.judge.measure import Measure
from edgelift_builder.judge.scored import PerSample
from edgelift_builder.measure.latency import Latency, ratio
from edgelift_contract.histogram import Histogram

pytestmark = pytest.mark.builder

pairs = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2000)).filter(lambda p: sum(p) > 0)


@pytest.mark.parametrize(("lost", "gained", "n"), [(0, 0, 400), (1, 0, 797), (3, 1, 797), (2, 4, 300)])
def test_so_many_samples_would_tell(lost: int, gained: int, n: int) -> None:
    needed = tango_samples(lost, gained, n, 0.005)
    assert needed is not None and needed > n
    share = needed / n
    assert tango(round(lost * share), round(gained * share), needed)[1] <= 0.005
    fewer = int(needed * 0.95)
    assert tango(round(lost * fewer / n), round(gained * fewer / n), fewer)[1] > 0.0047
    assert 760 <= (tango_samples(0, 0, 400, 0.005) or 0) <= 775  # docs/artifact-format.md: 765
    assert tango_samples(8, 0, 797, 0.005) is None  # it loses more than that: no number of samples would do


def test_the_example_of_fagerland_lydersen_and_laake() -> None:
    # Airway hyper-responsiveness before and after stem cell transplantation: 1 and 7 discordant of 21 pairs.
    low, high = tango(1, 7, 21)
    assert (low, high) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


@given(pairs)
def test_the_interval_holds_the_estimate_and_mirrors(counts: tuple[int, int, int]) -> None:
    b, c, same = counts
    n = b + c + same
    low, high = tango(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    mirrored = tango(c, b, n)
    assert (-mirrored[1], -mirrored[0]) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@given(st.integers(1, 5000))
def test_with_no_difference_seen_it_is_z2_by_n_plus_z2(n: int) -> None:
    assert tango(0, 0, n)[1] == pytest.approx(Z * Z / (n + Z * Z), abs=1e-9)


@given(pairs, st.floats(min_value=-0.9, max_value=0.9))
def test_the_nuisance_is_the_likeliest(counts: tuple[int, int, int], difference: float) -> None:
    b, c, same = counts
    n = b + c + same

    def log_likelihood(p: float) -> float:
        cells = ((p + difference, b), (p, c), (1 - 2 * p - difference, same))
        if any(q < -1e-12 for q, _ in cells):
            return -math.inf
        return sum(k * (math.log(q) if q > 0 else -math.inf) for q, k in cells if k)

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = tango_nuisance(b, c, n, difference)
    assert low - 1e-9 <= found <= high + 1e-9
    best = log_likelihood(min(max(found, low), high))
    grid = max(log_likelihood(p) for p in np.linspace(low, high, 201))
    assert best >= grid - 1e-6 * max(1.0, abs(grid))


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    # Exactly, by enumerating every outcome of 150 pairs: 2 % lost and 1 % gained in truth.
    n, lost, gained = 150, 0.02, 0.01
    covered = 0.0
    for b in range(25):
        for c in range(25):
            ways = math.comb(n, b) * math.comb(n - b, c)
            chance = ways * lost**b * gained**c * (1 - lost - gained) ** (n - b - c)
            low, high = tango(b, c, n)
            covered += chance * (low <= lost - gained <= high)
    assert 0.94 < covered < 0.99


def test_wilson_and_t_agree_with_known_figures() -> None:
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))  # Newcombe 1998
    low, high = mean_t(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (low, high) == (pytest.approx(1.0368, abs=1e-4), pytest.approx(4.9632, abs=1e-4))
    assert mean_t(np.array([1.0])) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(-1, 0.5, "holds"), (0.4, 0.6, "cannot-tell"), (0.6, 2, "fails"), (0.5, 2, "cannot-tell")],
)
def test_a_budget_is_held_against_the_interval(low: float, high: float, found: str) -> None:
    assert verdict(low, high, 0.5) == found


def test_pairs_are_judged_as_pairs() -> None:
    baseline = np.array([1.0] * 950 + [0.0] * 50)
    scores = baseline.copy()
    scores[:3], scores[-1] = 0.0, 1.0
    judged = judge(Measure("accuracy"), PerSample(scores), PerSample(baseline), 1.0)
    assert (judged.lost, judged.gained, judged.loss) == (3, 1, pytest.approx(0.2))
    assert judged.loss_high == pytest.approx(100 * tango(3, 1, 1000)[1])
    assert judged.verdict == "holds"


@pytest.mark.parametrize("n", [6, 7, 40, 300])
def test_the_medians_interval_covers_it_as_often_as_it_says(n: int) -> None:
    # Exact: the interval holds the median unless too few or too many of n fair coins show heads.
    low, _ = median(np.arange(n, dtype=np.float64))
    missed = 2 * sum(math.comb(n, k) for k in range(round(low) + 1)) / 2**n
    assert 1 - missed >= 0.94 if n > 6 else low == 0
    assert median(np.arange(n)[::-1].astype(np.float64)) == (low, n - 1 - low)


def test_a_ratio_is_taken_within_rounds() -> None:
    # A machine that slows down threefold half way: medians of each side's own times would say anything.
    slow = np.repeat([1.0, 3.0], 50)
    rng = np.random.default_rng(0)
    one, other = (summary(slow * speed * rng.uniform(0.99, 1.01, 100)) for speed in (200, 100))
    found = ratio(one, other)
    assert found.value == pytest.approx(2.0, rel=0.01) and 1.98 < found.low <= found.value <= found.high < 2.02


def test_a_speed_that_chance_could_have_shown_is_no_gain() -> None:
    rng = np.random.default_rng(1)
    noisy, same = (summary(100 * rng.lognormal(0, 0.3, 200)) for _ in range(2))
    found = ratio(noisy, same)
    assert found.low < 1.03 and found.low < 1 < found.high


def summary(times_us: np.ndarray) -> Latency:
    return Latency(float(np.median(times_us)), 0.0, len(times_us), Histogram().to_data(), tuple(times_us.tolist()))
