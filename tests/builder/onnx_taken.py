"""ONNX files by what they take and answer: types other than float, state, axes in odd places, none, or free."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from tests.builder.onnx_parts import (
    COUNT,
    FIRST,
    FLOAT,
    INT64,
    ROWS,
    SCORES,
    Kind,
    X,
    dense,
    floats,
    listed,
    model,
    node,
    port,
    rng,
    weights,
)

KINDS: dict[str, Callable[[], Kind]] = {}


@listed(KINDS)
def booleans() -> Kind:
    nodes, constants = dense("kept")
    nodes = [node("Where", ["mask", "x", "none"], ["kept"]), *nodes, node("Greater", ["y", "none"], ["above"])]
    inputs = [ROWS, port("mask", ["N", 8], TensorProto.BOOL)]
    outputs = [SCORES, port("above", ["N", 3], TensorProto.BOOL)]
    made = model(nodes, inputs, outputs, constants | {"none": np.array(0, np.float32)})
    return Kind(made, X | {"mask": floats(COUNT, 8) > 0}, {"x": 0, "mask": 0})


@listed(KINDS)
def bytes_in_and_out() -> Kind:
    nodes, constants = dense("real", "answer")
    nodes = [node("Cast", ["x"], ["real"], to=FLOAT), *nodes, node("Cast", ["answer"], ["y"], to=TensorProto.INT8)]
    made = model(
        nodes, [port("x", ["N", 8], TensorProto.INT8)], [port("y", ["N", 3], TensorProto.INT8)], constants
    )
    return Kind(made, {"x": rng().integers(-128, 128, (COUNT, 8)).astype(np.int8)}, FIRST)


@listed(KINDS)
def state_behind() -> Kind:
    """A recurrent model's state, its samples on axis 1, in and out."""
    nodes = [
        node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        node("GRU", ["steps", "W", "R", "", "", "state"], ["all", "next"], hidden_size=4),
        node("Squeeze", ["next", "zero"], ["y"]),
    ]
    made = model(
        nodes, [port("x", ["N", 5, 3]), port("state", [1, "N", 4])], [port("y", ["N", 4]), port("next", [1, "N", 4])],
        {"W": weights(1, 12, 3), "R": weights(1, 12, 4), "zero": np.array([0])},
    )  # fmt: skip
    return Kind(made, {"x": floats(COUNT, 5, 3), "state": floats(1, COUNT, 4)}, {"x": 0, "state": 1})


@listed(KINDS)
def time_first() -> Kind:
    nodes = [node("RNN", ["x", "W", "R"], ["", "last"], hidden_size=4), node("Squeeze", ["last", "zero"], ["y"])]
    constants = {"W": weights(1, 4, 3), "R": weights(1, 4, 4), "zero": np.array([0])}
    made = model(nodes, [port("x", [6, "batch", 3])], [port("y", ["batch", 4])], constants)
    return Kind(made, {"x": floats(6, COUNT, 3)}, {"x": 1})


@listed(KINDS)
def no_sample_axis() -> Kind:
    """A window of sound: 64 numbers are one sample, not 64."""
    nodes = [
        node("Reshape", ["x", "row"], ["r"]),
        node("MatMul", ["r", "w"], ["m"]),
        node("Squeeze", ["m"], ["y"]),
    ]
    made = model(nodes, [port("x", [64])], [port("y", [])], {"row": np.array([1, 64]), "w": weights(64, 1)})
    return Kind(made, {"x": floats(COUNT, 64)}, {"x": None}, batch_free=False)


@listed(KINDS)
def number_for_all() -> Kind:
    nodes, constants = dense("scaled")
    nodes.insert(0, node("Mul", ["x", "gain"], ["scaled"]))
    made = model(nodes, [ROWS, port("gain", [])], [SCORES], constants)
    return Kind(made, X | {"gain": np.array(1.5, np.float32)}, {"x": 0, "gain": None})


@listed(KINDS)
def one_at_a_time() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [port("x", [1, 8])], [port("y", [1, 3])], constants)
    return Kind(made, X, FIRST, batch_free=False)


@listed(KINDS)
def free_height_and_width() -> Kind:
    nodes = [node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1])]
    made = model(
        nodes, [port("x", ["N", 3, "H", "W"])], [port("y", ["N", 2, "H", "W"])], {"k": weights(2, 3, 3, 3)}
    )
    return Kind(made, {"x": floats(COUNT, 3, 6, 5)}, FIRST, undrawn=True)


@listed(KINDS)
def rows_found() -> Kind:
    """As many rows as are found in a call."""
    nodes, constants = dense()
    nodes += [node("Greater", ["y", "least"], ["is"]), node("NonZero", ["is"], ["where"])]
    made = model(
        nodes, [ROWS], [SCORES, port("where", [2, "K"], INT64)], constants | {"least": np.array(0.4, np.float32)}
    )
    return Kind(made, X, FIRST, batch_free=False)


@listed(KINDS)
def constant_outputs() -> Kind:
    nodes, constants = dense()
    nodes += [node("Identity", ["version"], ["made_by"]), node("Identity", ["x"], ["echo"])]
    outputs = [SCORES, port("made_by", [1], INT64), port("anchors", [4, 2]), port("echo", ["N", 8])]
    made = model(nodes, [ROWS], outputs, constants | {"version": np.array([3]), "anchors": weights(4, 2)})
    return Kind(made, X, FIRST)


@listed(KINDS)
def input_without_elements() -> Kind:
    nodes, constants = dense("joined")
    nodes.insert(0, node("Concat", ["x", "more"], ["joined"], axis=1))
    made = model(nodes, [ROWS, port("more", ["N", "M"])], [SCORES], constants)
    return Kind(made, X | {"more": floats(COUNT, 0)}, {"x": 0, "more": 0}, undrawn=True)


@listed(KINDS)
def input_called_labels() -> Kind:
    nodes, constants = dense("labels")
    return Kind(model(nodes, [port("labels", ["N", 8])], [SCORES], constants), {"labels": X["x"]}, {"labels": 0})


@listed(KINDS)
def numbers_missing() -> Kind:
    nodes, constants = dense("whole")
    nodes = [node("IsNaN", ["x"], ["gone"]), node("Where", ["gone", "none", "x"], ["whole"]), *nodes]
    made = model(nodes, [ROWS], [SCORES], constants | {"none": np.array(0, np.float32)})
    return Kind(made, {"x": np.where(X["x"] > 1, np.nan, X["x"]).astype(np.float32)}, FIRST)
