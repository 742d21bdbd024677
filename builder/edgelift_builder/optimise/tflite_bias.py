"""Biases of a quantised TFLite file, moved by what narrow weights change a layer's answers by on average.

    b'[c] = b[c] + Σ_k (W - Ŵ)[c, k] · E[x_k]

W are the float weights, Ŵ what 8 bits left of them, E[x] the mean of the layer's input over samples and places. Rounding
errors of one channel's weights all meet inputs of one sign after a ReLU, and so do not cancel out; their mean can be told
beforehand. Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
section 4.2, with measured means. Padding is left out of account.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.data import Array
from edgelift_builder.optimise import tflite_prepare

#: Operators with weights [out, …, in]; a depthwise one has [1, …, out], for as many inputs.
_WHOLE, _DEPTHWISE = ("CONV_2D", "FULLY_CONNECTED"), "DEPTHWISE_CONV_2D"


def corrected(content: bytes, ready: Any, means: dict[str, Array]) -> bytes:
    """A quantised file with its biases moved.

    Args:
        content: the file.
        ready: the float one's content (`ModelT`), with tensors of the same names.
        means: float activation → mean of its last axis' elements.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    made = flatbuffer_utils.read_model_from_bytearray(content)
    return tflite_prepare.packed(made) if _correct(made, ready, means) else content


def _correct(made: Any, ready: Any, means: dict[str, Array]) -> int:
    """In place; how many layers were."""
    kinds = tflite_prepare.operator_kinds(made)
    graph, was = made.subgraphs[0], ready.subgraphs[0]
    floats = {tensor.name: tensor for tensor in was.tensors}
    made_by = {index: operator for operator in graph.operators for index in operator.outputs}
    moved = 0
    for operator in graph.operators:
        kind = kinds[operator.opcodeIndex]
        if kind not in (*_WHOLE, _DEPTHWISE) or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        weights = graph.tensors[_source(operator.inputs[1], made_by, kinds)]
        given = graph.tensors[_source(operator.inputs[0], made_by, kinds)]
        mean, wide = means.get(given.name.decode()), floats.get(weights.name)
        if mean is None or wide is None or not len(_scales(weights)):
            continue
        error = _content(ready, wide).reshape(wide.shape) - _widened(made, weights)
        change = _change(error, mean, kind)
        if change is not None:
            moved += _move(made, graph.tensors[operator.inputs[2]], change)
    return moved


def _source(index: int, made_by: dict[int, Any], kinds: list[str]) -> int:
    """The tensor behind operators that only change its type."""
    operator = made_by.get(index)
    if operator is not None and kinds[operator.opcodeIndex] in ("QUANTIZE", "DEQUANTIZE"):
        return _source(operator.inputs[0], made_by, kinds)
    return index


def _change(error: Array, mean: Array, kind: str) -> Array | None:
    """float64[out]: Σ error · mean; None where shapes say that this is another layout."""
    if kind == _DEPTHWISE:
        return error.sum(axis=(0, 1, 2)) * mean if error.shape[-1] == len(mean) else None
    if error.shape[-1] != len(mean):
        return None
    made: Array = error.reshape(len(error), -1, len(mean)).sum(axis=1) @ mean
    return made


def _move(made: Any, bias: Any, change: Array) -> int:
    held, scales = made.buffers[bias.buffer].data, _scales(bias)
    if held is None:
        return 0
    old = _content(made, bias)
    new = old + (np.round(change / scales) if len(scales) else change)
    users = sum(t.buffer == bias.buffer for graph in made.subgraphs for t in graph.tensors)
    if users > 1:  # another layer has the same numbers, and keeps them
        made.buffers.append(type(made.buffers[bias.buffer])())
        bias.buffer = len(made.buffers) - 1
    made.buffers[bias.buffer].data = np.frombuffer(new.astype(old.dtype).tobytes(), np.uint8)
    return 1


def _scales(tensor: Any) -> Array:
    found = tensor.quantization.scale if tensor.quantization is not None else None
    return np.asarray([] if found is None else found, np.float64)


def _widened(made: Any, tensor: Any) -> Array:
    """What the narrow weights stand for: symmetric, a scale per channel."""
    scales = _scales(tensor)
    along = [1] * len(tensor.shape)
    along[tensor.quantization.quantizedDimension] = len(scales)
    wide: Array = _content(made, tensor).reshape(tensor.shape) * scales.reshape(along)
    return wide


def _content(model: Any, tensor: Any) -> Array:
    kinds = {0: np.float32, 2: np.int32, 9: np.int8, 4: np.int64}
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), kinds[tensor.type])
