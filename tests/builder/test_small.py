"""Small channels: an output that is small as a whole is judged by itself; one beside shares of 1 is told when it is lost."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder.data import Array
from edgelift_builder.judge import panel, small, telling
from edgelift_builder.judge.budgets import Allowed
from tests.builder.judging import case, judged

pytestmark = pytest.mark.builder

N = 1000
DRAWN = np.random.default_rng(0)
QUANTITY = DRAWN.random((N, 1)) * 0.002
OTHERS = 1 / (1 + np.exp(-DRAWN.normal(0, 2, (N, 3))))
BESIDE = np.concatenate([OTHERS, QUANTITY], axis=1)
#: A label that never occurs: a share of about a thousandth everywhere.
NEVER = np.concatenate([OTHERS, 1 / (1 + np.exp(7 - DRAWN.normal(0, 0.6, (N, 1))))], axis=1)
SOFTMAX = np.exp(DRAWN.normal(0, 3, (N, 40)) - 12 * (np.arange(40) == 5))
SOFTMAX /= SOFTMAX.sum(axis=1, keepdims=True)


def in_bytes(values: Array) -> Array:
    """As an int8 output leaves shares of 1."""
    return np.round(values * 256).clip(0, 255) / 256


@pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 1, 1)])
def test_an_output_that_is_small_as_a_whole_is_held_to_its_own_range(shape: tuple[int, ...]) -> None:
    given = case(QUANTITY.reshape(shape))
    assert judged(given, np.zeros(shape))[0].verdict == "fails"
    near = QUANTITY.reshape(shape) + DRAWN.normal(0, 2e-5, shape)
    assert judged(given, near)[0].verdict == "holds"


def test_a_small_channel_that_is_lost_beside_larger_ones_is_told() -> None:
    (said,) = small.remarks({"y": in_bytes(BESIDE)}, {"y": BESIDE})
    assert said.startswith("y, axis 1, channel 3: nothing is left of values up to 0.002, which are off by 2")
    given = panel.Panel(telling.judging(case(BESIDE), ""), {"y": BESIDE}, Allowed().judging)
    assert given.opinion({"y": in_bytes(BESIDE)}).remarks == (said,)
    assert not given.opinion({"y": BESIDE + DRAWN.normal(0, 1e-4, BESIDE.shape)}).remarks


def test_a_label_that_never_occurs_refuses_no_artifact() -> None:
    """It looks as the small quantity does: so neither is refused, and both are told."""
    given = case(NEVER)
    assert [j.verdict for j in judged(given, in_bytes(NEVER))] == ["holds"]
    assert len(small.remarks({"y": in_bytes(NEVER)}, {"y": NEVER})) == 1


def test_of_classes_that_shut_each_other_out_the_small_ones_say_nothing() -> None:
    assert not small.remarks({"y": in_bytes(SOFTMAX)}, {"y": SOFTMAX})
    maps = np.moveaxis(SOFTMAX.reshape(50, 20, 40), -1, 1)
    assert not small.remarks({"y": in_bytes(maps)}, {"y": maps})


def test_constants_and_zeros_are_no_small_channels() -> None:
    still = np.concatenate([OTHERS, np.full((N, 1), 1e-3), np.zeros((N, 1))], axis=1)
    assert not small.remarks({"y": in_bytes(still)}, {"y": still})
    nothing = np.zeros((N, 2))
    assert judged(case(nothing), nothing)[0].verdict == "holds"
