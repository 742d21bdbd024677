"""What chose and what judges are different samples, where there are enough; else it is said."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder.judge import worst
from edgelift_builder.source import held_out

pytestmark = pytest.mark.builder


def columns(count: int, first: int = 0) -> dict[str, np.ndarray]:
    return {"x": np.arange(first, first + count, dtype=np.float32).reshape(-1, 1)}


@pytest.mark.parametrize("count", [1200, 1999, 2001, 5000])
def test_some_are_set_aside_and_the_rest_keep_their_labels(count: int) -> None:
    remarks: list[str] = []
    divided = held_out.divide(columns(count), {"labels": np.arange(count)}, None, remarks)
    judges, choosers = divided.evaluation["x"].ravel(), divided.calibration["x"].ravel()
    assert divided.held_out and divided.set_aside and len(choosers) == min(500, -(-count // 4))
    assert sorted([*judges, *choosers]) == list(range(count))
    assert (judges == divided.labels["labels"]).all()
    # A sample is named by the number that its owner knows it by.
    assert [held_out.original(place) for place in range(len(judges))] == judges.tolist()
    assert f"{len(choosers)} of {count}" in remarks[0] and f"the other {len(judges)} judge" in remarks[0]


def test_too_few_are_not_divided_and_that_is_said() -> None:
    remarks: list[str] = []
    divided = held_out.divide(columns(797), {}, None, remarks)
    assert not divided.held_out and len(divided.evaluation["x"]) == 797 and len(divided.calibration["x"]) == 200
    assert "from 1200 on" in remarks[0] and "chosen by the samples that judge it" in remarks[0]


def test_calibration_samples_of_the_sources_own_choose_unless_they_judge_too() -> None:
    apart: list[str] = []
    assert held_out.divide(columns(500), {}, columns(100, first=500), apart).held_out and not apart
    remarks: list[str] = []
    assert not held_out.divide(columns(500), {}, columns(100, first=490), remarks).held_out
    assert "10 of 100 calibration samples are evaluation samples" in remarks[0]
    assert not held_out.divide(columns(500), {}, columns(29, first=500), apart).held_out  # too few to choose by


def test_ragged_samples_are_compared_one_by_one() -> None:
    ragged = np.empty(3, dtype=object)
    for place in range(3):
        ragged[place] = np.arange(place + 1)
    remarks: list[str] = []
    assert not held_out.divide({"x": ragged}, {}, {"x": ragged[:1]}, remarks).held_out
    assert "1 of 1 calibration samples" in remarks[0]


def test_the_worst_channel_and_samples_are_named() -> None:
    drawn = np.random.default_rng(0)
    reference = {
        "scores": drawn.normal(size=(50, 4)),
        "picture": drawn.normal(size=(50, 3, 2, 4)),
        "text": np.array(["a"] * 50),
    }
    outputs = {name: array.copy() for name, array in reference.items()}
    assert worst.find(outputs, reference) is None
    outputs["scores"][7, 2] += 3.0
    outputs["picture"][9, :, :, 1] += 0.1
    found = worst.find(outputs, reference)
    assert found is not None and (found.output, found.channel) == ("scores", "axis 1, channel 2")
    assert [moved.sample for moved in found.samples] == [7, 9]
    spread = reference["scores"][:, 2].std()
    assert found.error == pytest.approx(100 * 3.0 / np.sqrt(50) / spread, rel=1e-3)
