"""Whether boxes are corners or centre and size is told by what is detected, not by what is said of empty places."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import layouts

pytestmark = pytest.mark.builder


def detector(inside_out: float) -> DataSet:
    """Corners of 20 × 20 pixels in every tenth place; elsewhere a share of boxes that no corners can be."""
    drawn = np.random.default_rng(0)
    low = drawn.uniform(0, 300, (50, 40, 2))
    there = np.arange(40) % 10 == 0
    size = np.where(there[:, None] | (drawn.random((50, 40, 1)) >= inside_out), 20, -5)
    return {
        "where": np.concatenate([low, low + size], axis=-1).astype(np.float32),
        "what": np.where(there[:, None], [0.9, 0.1], 0.01)[None].repeat(50, 0).astype(np.float32),
    }


def widths(outputs: DataSet) -> Array:
    how = layouts.likeliest(outputs, known=False)
    assert how is not None
    found = np.concatenate([picture.boxes for picture in layouts.detections(outputs, how)])
    return found[:, 2] - found[:, 0]


@pytest.mark.parametrize("inside_out", [0, 0.001, 0.5, 1])
def test_boxes_of_empty_places_are_not_asked(inside_out: float) -> None:
    assert np.allclose(widths(detector(inside_out)), 20, atol=1e-4)


def test_centre_and_size_are_told_too() -> None:
    outputs = detector(0)
    outputs["where"][..., 2:] = 16  # a size now
    assert np.allclose(widths(outputs), 16, atol=1e-4)
