"""The gates' statistics for thousands of boards: done in arrays, and the same as done plainly; boards without a request."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from edgelift_contract.histogram import Histogram
from edgelift_fleet.rollout.gates.compare import ranks, shift
from edgelift_fleet.rollout.gates.draws import subsets
from edgelift_fleet.rollout.gates.measure import Reading, Stretch, measure
from edgelift_fleet.rollout.gates.wave import Drawn, Rules, judge_wave

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize(("n", "size"), [(1, 2), (1, 300), (299, 300), (5, 25), (150, 300), (1250, 5000)])
def test_each_choice_is_of_its_size_and_nobody_is_preferred(n: int, size: int):
    count = 4_000
    rows = subsets(count, n, size, np.random.default_rng(1))
    assert rows.shape == (count, size) and (rows.sum(axis=1) == n).all()
    share = n / size
    spread = np.sqrt(count * share * (1 - share))
    assert (np.abs(rows.sum(axis=0) - count * share) < 5.5 * spread).all()


def test_every_pair_is_chosen_as_often_as_any_other():
    rows = subsets(20_000, 2, 5, np.random.default_rng(2))
    found = [int((rows[:, a] & rows[:, b]).sum()) for a, b in itertools.combinations(range(5), 2)]
    assert sum(found) == 20_000 and all(abs(n - 2_000) < 5 * np.sqrt(1_800) for n in found)


def test_ranks_are_scipys():
    rng = np.random.default_rng(3)
    values = rng.integers(0, 9, (7, 40)) / 3.0
    values[rng.random(values.shape) < 0.3] = np.nan
    values[5] = np.nan
    found = ranks(values)
    for row, mine in zip(values, found, strict=True):
        counted = np.isfinite(row)
        assert mine[counted] == pytest.approx(rankdata(row[counted]) / max(counted.sum(), 1))
        assert (mine[~counted] == 0).all()


@pytest.mark.parametrize("sizes", [((300, 500),), ((2, 5), (400, 700)), ((301, 333), (7, 3))])
def test_the_median_of_all_pairs_is_found_without_listing_them(sizes: tuple[tuple[int, int], ...]):
    rng = np.random.default_rng(4)
    member = np.concatenate([np.arange(n + m) < n for n, m in sizes])
    stratum = np.repeat(np.arange(len(sizes)), [n + m for n, m in sizes])
    for values in (rng.standard_normal(len(member)), rng.integers(0, 3, len(member)).astype(float)):
        pairs = [
            (values[(stratum == c) & member][:, None] - values[(stratum == c) & ~member]).ravel()
            for c in range(len(sizes))
        ]
        assert shift(member, stratum, values) == pytest.approx(np.median(np.concatenate(pairs)), abs=1e-4)


def _served(requests: int, errors: int = 0) -> Stretch:
    histogram = Histogram()
    histogram.record_all([500.0] * requests)
    return Stretch(requests + errors, errors, histogram.to_data())


def test_a_board_that_had_requests_and_has_none_is_told_apart_from_one_that_has_few():
    def idle(before: int, since: dict[bool, Stretch]) -> float:
        return measure(Reading({False: _served(before)}, since), member=True, min_requests=100)["no requests"]

    assert idle(100, {}) == 1.0
    assert idle(100, {False: _served(1)}) == 0.0
    assert idle(100, {True: _served(0, errors=1)}) == 0.0  # it is asked, and fails: the errors' business
    assert np.isnan(idle(99, {}))


def test_a_release_that_keeps_boards_from_serving_is_found_among_those_that_serve():
    boards = {f"b{n:02}": "arm64-neon" for n in range(52)}
    drawn = Drawn(dict(list(boards.items())[:12]), dict(list(boards.items())[12:]), seed=1)
    silent = {"b00", "b01", "b02", "b03", "b04", "b20"}
    look = {b: {"latency p50": 0.0, "silence": 0.0, "no requests": float(b in silent)} for b in boards}
    verdict = judge_wave(drawn, {1: look}, Rules(looks=1))
    assert verdict.breach and verdict.text.startswith(
        "no requests on arm64-neon +39.2 points (12 boards against 40 controls, p = "
    )
    alike = {b: {**look[b], "no requests": float(int(b[1:]) % 3 == 0)} for b in boards}
    assert not judge_wave(drawn, {1: alike}, Rules(looks=1)).breach
