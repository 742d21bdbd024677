"""Gives what an ONNX model holds in floats of another width float32 in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgelift_builder.data import Array
from edgelift_builder.source.onnx_walk import messages

#: Puts values in float32 in the place of a TensorProto's own.
Keep = Callable[[Any, Array], None]


def as_float32(model: Any, other: int, home: str, keep: Keep | None = None) -> bool:
    """Make everything of the element type `other` float32, in place: constants, inputs, outputs, what casts make. Was there
    any.

    Args:
        model: an ONNX model.
        other: a float type of `TensorProto`.
        home: the folder of its external data.
        keep: for constants that lie there; they come into the model where it is None.
    """
    import onnx

    found = False
    for message in messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto" and message.data_type == other:
            _widen(message, home, keep or _inside)
            found = True
        elif kind == "Tensor" and message.elem_type == other:
            message.elem_type, found = onnx.TensorProto.FLOAT, True
        elif kind == "AttributeProto" and message.name in ("to", "dtype") and message.i == other:
            message.i, found = onnx.TensorProto.FLOAT, True
    return found


def _widen(tensor: Any, home: str, keep: Keep) -> None:
    import onnx

    lies_outside = bool(tensor.external_data)
    if lies_outside:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, home)
    values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    (keep if lies_outside else _inside)(tensor, values)


def _inside(tensor: Any, values: Array) -> None:
    import onnx

    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
