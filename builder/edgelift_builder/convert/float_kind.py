"""In which floats an ONNX graph or a module keeps its numbers."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import onnx

from edgelift_builder.recipe import FLOAT, FLOATS
from edgelift_builder.source.onnx_walk import messages

_NAMES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
}


def float_kind(model: Any) -> str:
    """One of `FLOATS`: that of most of its constants, by their number of elements; `float32` where none lead."""
    held: Counter[str] = Counter()
    for message in messages(model):
        if message.DESCRIPTOR.name == "TensorProto" and message.data_type in _NAMES:
            held[_NAMES[message.data_type]] += prod(message.dims)
    return _most(held)


def of_file(path: Path) -> str:
    """`float_kind` of a file; its external weights are not read."""
    return float_kind(onnx.load(path, load_external_data=False))


def of_module(model: Any) -> str:
    """The same of a module's parameters and buffers."""
    held: Counter[str] = Counter()
    for tensor in (*model.parameters(), *model.buffers()):
        held[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return _most(Counter({name: held[name] for name in FLOATS}))


def _most(held: Counter[str]) -> str:
    return max((FLOAT, *FLOATS), key=held.__getitem__)
