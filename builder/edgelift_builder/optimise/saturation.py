"""Weight ranges that cannot saturate where uint8 meets int8 without VNNI.

There `vpmaddubsw` multiplies two neighbours along the sum by their activations, up to 255 each, and adds the two products
in 16 bits: 255 · |q₁ + q₂| ≤ 32,767 holds where |q₁ + q₂| ≤ 128. The usual remedy is to halve every weight (7 bits). Here
each channel's scale is only as coarse as its own heaviest pair demands, which leaves about half a bit more:

    s = max(max|w_k|, max|w_k + w_(k+1)|) / 127      over a channel; rounding adds at most 1 to a pair's sum of 127

Pairs at any alignment count, so that it does not matter where a kernel begins. Held under an emulated Haswell, where full
range is wrong and this is exact to the last bit (`tests/builder/test_saturation.py`). Source: onnxruntime#5849.
"""

from __future__ import annotations

import numpy as np

from edgelift_builder.data import Array


def ranges(weights: Array, axis: int) -> Array:
    """The range ±r of each channel, float32 of the weights' shape without `axis`, along which is summed."""
    along = np.moveaxis(weights.astype(np.float32), axis, 0)
    pairs = np.abs(along[1:] + along[:-1]).max(axis=0, initial=0.0)
    reach: Array = np.maximum(np.abs(along).max(axis=0), pairs)
    return reach
