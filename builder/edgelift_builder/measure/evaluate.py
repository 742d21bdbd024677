"""How far arrays lie apart: whether a float artifact says what its source says, and how near a golden must come."""

from __future__ import annotations

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text

#: A float variant may differ from the source's own float by this share of the outputs' range.
FLOAT_TOLERANCE = 1e-3

#: A model that came in 8 bits may differ from its own outputs by one step of 8 bits over their range.
QUANTUM = 1 / 255


def largest_difference(outputs: DataSet, reference: DataSet) -> float:
    """Largest absolute difference over all outputs, as a share of the reference's range; NaN is infinite."""
    shares = [apart(outputs[name], reference[name]) / (spread(reference[name]) or 1.0) for name in reference]
    return max((s if np.isfinite(s) else float("inf") for s in shares), default=0.0)


def apart(one: Array, other: Array) -> float:
    """Largest absolute difference of two arrays; of text 0 where it is the same, infinite where it or the shape is not.

    The same infinity, as in what a mask rules out, is no difference, nor is NaN where the other has it too.
    """
    if ragged.is_ragged(one) or ragged.is_ragged(other):
        return max((apart(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if one.shape != other.shape:
        return float("inf")
    if is_text(one) or is_text(other):
        return 0.0 if np.array_equal(one, other) else float("inf")
    one, other = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        far = np.abs(one - other)
    alike = (one == other) | (np.isnan(one) & np.isnan(other))
    return float(np.max(np.where(alike, 0.0, far), initial=0.0))


def spread(array: Array) -> float:
    """Range of an array's finite values: their maximum less their minimum; 0 when there are none, and of text."""
    if ragged.is_ragged(array):
        return max((spread(sample) for sample in array), default=0.0)
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    # As floats: the difference of two int8 is no int8, and bool has none.
    return float(known.max()) - float(known.min()) if known.size and not is_text(array) else 0.0
