"""Gives what an ONNX model holds in narrow floats float32 in its place."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.source.onnx_walk import messages


def as_float32(model: Any, narrow: int, home: str) -> bool:
    """Make everything of the element type `narrow` float32, in place: constants, inputs, outputs, what casts make. Was there
    any.

    Args:
        model: an ONNX model.
        narrow: a float type of `TensorProto`, of fewer bits.
        home: the folder of its external data.
    """
    import onnx

    found = False
    for message in messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto" and message.data_type == narrow:
            if message.external_data:
                onnx.external_data_helper.load_external_data_for_tensor(message, home)
            values = onnx.numpy_helper.to_array(message).astype(np.float32)
            message.CopyFrom(onnx.numpy_helper.from_array(values, message.name))
            found = True
        elif kind == "Tensor" and message.elem_type == narrow:
            message.elem_type, found = onnx.TensorProto.FLOAT, True
        elif kind == "AttributeProto" and message.name in ("to", "dtype") and message.i == narrow:
            message.i, found = onnx.TensorProto.FLOAT, True
    return found
