"""Rounding whose errors add up to nothing in each channel.

    |Σ_k (q_k - w_k / s)| ≤ 1/2        and every |q_k - w_k / s| < 1

Rounding each weight to the nearest leaves a sum of errors in every channel, and activations that are never negative, as
after a ReLU, multiply it by their mean: the outputs are shifted, all samples alike. So the weights nearest to the other
side are rounded there, as few as make the sum vanish. Needs no data. On a small trained CNN with stored weights it halves
the error of the outputs (0.38 % to 0.20 %; a scale for every 16 weights: 0.27 %); of static int8 it takes a third (2.0 to
1.4 %), in seven bits two fifths (3.2 to 1.9 %).

The shift, and its correction by data in the bias instead: M. Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", ICCV 2019, section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.data import Array


def balanced(weights: Array, scale: Array, axis: int, limit: int = 127) -> Array:
    """`weights`, any shape, as int8 in [-limit, limit]; `scale`: one for each channel along `axis`."""
    rows = np.moveaxis(weights, axis, 0)
    exact = rows.reshape(len(rows), -1) / scale.reshape(-1, 1).astype(np.float64)
    whole = np.clip(np.rint(exact), -limit, limit)
    for row, error in zip(whole, whole - exact, strict=True):
        off = int(np.rint(error.sum()))
        if off:
            side = np.sign(off)
            # Only what stays within one step and within the limit may move.
            gain = np.where(np.abs(row - side) <= limit, error * side, -np.inf)
            moved = np.argsort(-gain, kind="stable")[: abs(off)]
            row[moved[gain[moved] > 0]] -= side
    made: Array = np.moveaxis(whole.reshape(rows.shape), 0, axis).astype(np.int8)
    return made


def rebalance(model: Any, wide: dict[str, Array], limit: int) -> None:
    """Round again the weights that a QDQ model has with a scale per channel; `wide`: the float weights by name."""
    from onnx import TensorProto, numpy_helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    done: set[str] = set()
    for node in model.graph.node:
        name = node.input[0] if node.op_type == "DequantizeLinear" else ""
        weights = wide.get(name.removesuffix("_quantized"))
        if weights is None or name in done or name not in held or held[name].data_type != TensorProto.INT8:
            continue
        scale, axis = numpy_helper.to_array(held[node.input[1]]), [a.i for a in node.attribute if a.name == "axis"]
        if axis and scale.size == weights.shape[axis[0]]:
            done.add(name)
            held[name].CopyFrom(numpy_helper.from_array(balanced(weights, scale, axis[0], limit), name))
