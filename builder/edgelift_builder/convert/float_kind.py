"""In which floats an ONNX graph keeps its numbers."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

import onnx

from edgelift_builder.source.onnx_walk import messages


def float_kind(model: Any) -> str:
    """`float16` where more of its constants are in that than in float32, by their number of elements; else `float32`."""
    held: Counter[int] = Counter()
    for message in messages(model):
        if message.DESCRIPTOR.name == "TensorProto":
            held[message.data_type] += prod(message.dims)
    return "float16" if held[onnx.TensorProto.FLOAT16] > held[onnx.TensorProto.FLOAT] else "float32"


def of_file(path: Path) -> str:
    """`float_kind` of a file; its external weights are not read."""
    return float_kind(onnx.load(path, load_external_data=False))
