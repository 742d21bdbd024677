"""ONNX files that are refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.builder.onnx_parts import (
    FLOAT,
    INT64,
    ROWS,
    SCORES,
    X,
    dense,
    listed,
    model,
    node,
    port,
)


@dataclass
class Refused:
    """A model that is refused, and in which words.

    Attributes:
        inputs: data to give; empty for none.
    """

    model: Any
    code: str
    words: str
    inputs: dict[str, np.ndarray] = field(default_factory=dict)


REFUSED: dict[str, Callable[[], Refused]] = {}


@listed(REFUSED)
def laid_out_for_a_processor() -> Refused:
    nodes = [node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc", channels_last=0)]
    inputs, outputs = [port("x", ["N", 16, 8, 8])], [port("y", ["N", 16, 8, 8])]
    made = model(nodes, inputs, outputs, {}, domains=[("com.microsoft.nchwc", 1)])
    return Refused(made, "source-invalid", "for the processor of the machine that wrote it")


@listed(REFUSED)
def operator_of_ones_own() -> Refused:
    nodes, constants = dense("n")
    made = model(
        [node("Norm", ["x"], ["n"], domain="acme"), *nodes], [ROWS], [SCORES], constants, domains=[("acme", 1)]
    )
    return Refused(made, "unsupported-operator", "uses the operator acme.Norm, which onnxruntime does not have")


@listed(REFUSED)
def operator_without_a_kernel() -> Refused:
    nodes = [node("ImageDecoder", ["x"], ["y"], pixel_format="RGB")]
    inputs, outputs = [port("x", ["n"], TensorProto.UINT8)], [port("y", ["h", "w", 3], TensorProto.UINT8)]
    made = model(nodes, inputs, outputs, {}, opset=20, ir=9)
    return Refused(made, "unsupported-operator", "cannot compute ImageDecoder")


@listed(REFUSED)
def by_chance() -> Refused:
    nodes, constants = dense("noisy")
    nodes = [node("RandomNormalLike", ["x"], ["noise"]), node("Add", ["x", "noise"], ["noisy"]), *nodes]
    made = model(nodes, [ROWS], [SCORES], constants)
    return Refused(made, "source-invalid", "answers the same sample otherwise each time: y is drawn by chance")


@listed(REFUSED)
def sequence_of_inputs() -> Refused:
    nodes, constants = dense("joined")
    nodes.insert(0, node("ConcatFromSequence", ["x"], ["joined"], axis=1))
    tensors = helper.make_tensor_type_proto(FLOAT, ["N", 4])
    inputs = [helper.make_value_info("x", helper.make_sequence_type_proto(tensors))]
    return Refused(model(nodes, inputs, [SCORES], constants), "source-invalid", "is not a tensor (sequence)")


@listed(REFUSED)
def batch_of_eight() -> Refused:
    nodes, constants = dense()
    made = model(nodes, [port("x", [8, 8])], [port("y", [8, 3])], constants)
    return Refused(made, "shape-mismatch", "takes exactly 8 samples at once")


@listed(REFUSED)
def input_without_shape() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [port("x", None)], [SCORES], constants), "source-invalid", "how many axes x has")


@listed(REFUSED)
def nothing_to_ask() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [ROWS], [], constants), "source-invalid", "has no outputs")


@listed(REFUSED)
def missing_without_a_use() -> Refused:
    nodes, constants = dense()
    holes = np.where(X["x"] > 1, np.nan, X["x"]).astype(np.float32)
    return Refused(
        model(nodes, [ROWS], [SCORES], constants), "source-invalid", "of the input x holds NaN", {"x": holes}
    )


@listed(REFUSED)
def of_4_bits() -> Refused:
    nodes, constants = dense("wide")
    nodes.insert(0, node("Cast", ["x"], ["wide"], to=FLOAT))
    made = model(nodes, [port("x", ["N", 8], TensorProto.INT4)], [SCORES], constants, opset=21, ir=10)
    return Refused(made, "source-invalid", "x of given.onnx is of int4, which a request can neither give nor be")


@listed(REFUSED)
def too_old_to_raise() -> Refused:
    nodes, constants = dense()
    nodes[0] = node("Gemm", ["x", "w1", "b1"], ["h"], broadcast=1)
    made = model(nodes, [ROWS], [SCORES], constants, opset=5, ir=3)
    return Refused(made, "unsupported-operator", "is of opset 5, and onnxruntime has Gemm from 7 on")


@listed(REFUSED)
def of_a_later_form() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [ROWS], [SCORES], constants, ir=99), "load-failed", "is of IR version 99, which")


@listed(REFUSED)
def another_type_than_it_says() -> Refused:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [port("y", ["N", 3], INT64)], constants)
    return Refused(
        made, "load-failed", "cannot open given.onnx: Fail: Type Error: Type (tensor(int64)) of output arg (y)"
    )
