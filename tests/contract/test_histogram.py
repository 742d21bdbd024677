"""Merging equals recording in one; quantiles keep the error that the docstring states; the wire loses nothing."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract.histogram import Histogram, HistogramData, merge_all

#: base ** 0.5 - 1 at scale 4: half a bucket, the most that its geometric middle is off.
BOUND = 2 ** (2**-4 / 2) - 1

latencies = st.lists(st.floats(min_value=0.01, max_value=1e9), min_size=1, max_size=300)


def recorded(values: list[float], scale: int = 4) -> Histogram:
    made = Histogram(scale)
    for value in values:
        made.record(value)
    return made


@given(latencies)
def test_recording_all_is_recording_one_after_the_other(values: list[float]) -> None:
    made = Histogram()
    made.record_all(values)
    assert made.to_data() == recorded(values).to_data()


@given(latencies, st.floats(min_value=0, max_value=1))
def test_a_quantile_is_at_most_2_2_percent_off(values: list[float], q: float) -> None:
    true = sorted(values)[min(max(math.ceil(q * len(values)), 1), len(values)) - 1]
    assert recorded(values).quantile(q) == pytest.approx(true, rel=BOUND + 1e-9)
    assert BOUND < 0.0222


@given(latencies, latencies)
def test_merging_equals_recording_all_in_one(left: list[float], right: list[float]) -> None:
    merged = recorded(left)
    merged.merge(recorded(right))
    whole = recorded(left + right)
    assert merged.to_data().counts == whole.to_data().counts
    assert (merged.count, merged.low, merged.high) == (whole.count, whole.low, whole.high)
    assert merged.total == pytest.approx(whole.total)


@given(latencies, latencies, st.integers(min_value=-2, max_value=3))
def test_merging_a_coarser_one_loses_resolution_but_no_count(
    left: list[float], right: list[float], scale: int
) -> None:
    merged = recorded(left)
    merged.merge(recorded(right, scale))
    assert merged.scale == scale
    assert merged.count == len(left) + len(right)
    assert merged.to_data().counts == recorded(left + right, scale).to_data().counts


@given(latencies)
def test_the_wire_form_keeps_every_quantile(values: list[float]) -> None:
    made = recorded(values)
    back = Histogram.from_data(msgspec.json.decode(msgspec.json.encode(made.to_data()), type=HistogramData))
    for q in (0.0, 0.5, 0.95, 0.99, 1.0):
        # The extremes travel with three decimals.
        assert back.quantile(q) == pytest.approx(made.quantile(q), abs=1e-3, rel=1e-9)
    assert back.count == made.count


def test_averaging_quantiles_would_be_wrong_merging_is_not() -> None:
    quick, slow = recorded([100.0] * 990 + [200.0] * 10), recorded([5000.0] * 50)
    merged = merge_all([quick.to_data(), slow.to_data()])
    assert merged.quantile(0.99) == pytest.approx(5000, rel=0.03)
    assert (quick.quantile(0.99) + slow.quantile(0.99)) / 2 < 0.6 * merged.quantile(0.99)


def test_an_empty_one_says_zero() -> None:
    empty = Histogram()
    assert (empty.quantile(0.5), empty.mean, empty.count) == (0.0, 0.0, 0)
    assert Histogram.from_data(empty.to_data()).count == 0


def test_zeros_are_counted_and_rank_lowest() -> None:
    made = recorded([0.0, -1.0, 10.0])
    assert (made.zeros, made.count) == (2, 3)
    assert made.quantile(0.5) == 0.0
    assert made.quantile(1.0) == pytest.approx(10.0, rel=BOUND)


def test_a_minute_of_requests_is_small_on_the_wire() -> None:
    made = recorded([80 + (i * 7919) % 60 for i in range(600)])
    assert len(msgspec.msgpack.encode(made.to_data())) < 250


@pytest.mark.parametrize("scale", [-5, 11])
def test_a_scale_out_of_range_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match="scale"):
        Histogram(scale)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Histogram.from_data(HistogramData(counts=[1, -1]))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"counts":[-1]}', type=HistogramData)
