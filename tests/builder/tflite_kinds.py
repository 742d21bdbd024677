"""One small TFLite file of each kind that people bring: written by older converters, quantised elsewhere, with state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.builder.tflite_files import Net, answer, dense, plain, weights

Array = Any


def signed(rows: int = 1) -> Net:
    """`plain` with a signature `x → y`."""
    net = plain(rows)
    net.sign("serving_default", {"x": "serving_default_x:0"}, {"y": "StatefulPartitionedCall:0"})
    return net


def deprecated_codes() -> Net:
    """As converters wrote before schema 3a: `builtin_code` is unset (ADD, the default)."""
    net = plain()
    for code in net.model.operatorCodes:
        code.builtinCode = 0
    return net


def nameless() -> Net:
    """Tensors without names, no signature."""
    net = plain()
    for tensor in net.graph.tensors:
        tensor.name = b""
    return net


def several_signatures(usual: str = "serving_default") -> Net:
    """Two graphs: the first, `other`, doubles; the second, `usual`, is `plain`'s."""
    net, ws = Net(), weights()
    net.tensor("a", (1, 8))
    net.tensor("twice", (1, 8))
    net.op("ADD", ["a", "a"], ["twice"], schema.AddOptionsT())
    net.ends(["a"], ["twice"])
    net.sign("other", {"a": "a"}, {"twice": "twice"})
    net.subgraph("second")
    net.tensor("x", (1, 8))
    dense(net, dense(net, "x", "hidden", ws[0], ws[1], relu=True), "y", ws[2], ws[3])
    net.ends(["x"], ["y"])
    net.sign(usual, {"x": "x"}, {"y": "y"}, subgraph=1)
    return net


def bytes_in_and_out() -> Net:
    """A picture of 8 bytes in, three scores in bytes out, float between: no quantised net."""
    net, ws = Net(), weights()
    net.tensor("picture", (1, 8), "uint8", scale=[1 / 64], zero=[128])
    net.tensor("x", (1, 8))
    net.op("DEQUANTIZE", ["picture"], ["x"], schema.DequantizeOptionsT())
    dense(net, dense(net, "x", "hidden", ws[0], ws[1], relu=True), "y", ws[2], ws[3])
    net.tensor("scores", (1, 3), "uint8", scale=[0.5], zero=[128])
    net.op("QUANTIZE", ["y"], ["scores"], schema.QuantizeOptionsT())
    net.ends(["picture"], ["scores"])
    return net


def own_dynamic() -> Net:
    """Weights in 8 bits, quantised while running: float in and out."""
    net, ws = Net(), weights()
    net.tensor("x", (1, 8))
    narrow = [np.round(w / (np.abs(w).max() / 127)).astype(np.int8) for w in (ws[0], ws[2])]
    hidden, x = "", "x"
    for name, whole, eight, bias, size in (
        ("hidden", ws[0], narrow[0], ws[1], 16),
        ("y", ws[2], narrow[1], ws[3], 3),
    ):
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = int(name == "hidden")
        net.tensor(name, (1, size))
        w = net.constant(f"{name}/w", eight, scale=[float(np.abs(whole).max() / 127)])
        net.op("FULLY_CONNECTED", [hidden or x, w, net.constant(f"{name}/b", bias)], [name], options)
        hidden = name
    net.ends(["x"], ["y"])
    return net


def own_static() -> Net:
    """One layer in 8 bits with 8-bit ends, as a full-integer converter leaves it."""
    net, ws = Net(), weights()
    net.tensor("x", (1, 8), "int8", scale=[1 / 32], zero=[0])
    scale = float(np.abs(ws[0]).max() / 127)
    eight = np.round(ws[0] / scale).astype(np.int8)
    net.constant("w", eight, scale=[scale])
    net.constant("b", np.round(ws[1] * 32 / scale).astype(np.int32), scale=[scale / 32])
    net.tensor("hidden", (1, 16), "int8", scale=[0.1], zero=[-128])
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = 1
    net.op("FULLY_CONNECTED", ["x", "w", "b"], ["hidden"], options)
    net.tensor("y", (1, 16), "int8", scale=[0.1], zero=[-128])
    options = schema.FullyConnectedOptionsT()
    net.constant("eye", np.eye(16, dtype=np.int8) * 127, scale=[1 / 127])
    net.op("FULLY_CONNECTED", ["hidden", "eye", ""], ["y"], options)
    net.version("FULLY_CONNECTED", 4)
    net.ends(["x"], ["y"])
    return net


def tokens() -> Net:
    """`ids: int64[1, 5]` → scores and `best: int64[1]`."""
    net, rng = Net(), np.random.default_rng(2)
    net.tensor("ids", (1, 5), "int64")
    net.tensor("narrow", (1, 5), "int32")
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.INT64, schema.TensorType.INT32
    net.op("CAST", ["ids"], ["narrow"], cast)
    net.constant("table", rng.normal(size=(20, 8)).astype(np.float32))
    net.tensor("rows", (1, 5, 8))
    net.op("GATHER", ["table", "narrow"], ["rows"], schema.GatherOptionsT())
    net.tensor("text", (1, 8))
    net.op("MEAN", ["rows", net.constant("axis", np.array([1], np.int32))], ["text"], schema.ReducerOptionsT())
    ws = weights(classes=4)
    dense(net, dense(net, "text", "hidden", ws[0], ws[1], relu=True), "scores", ws[2], ws[3])
    net.tensor("best", (1,), "int64")
    most = schema.ArgMaxOptionsT()
    most.outputType = schema.TensorType.INT64
    net.op("ARG_MAX", ["scores", net.constant("last", np.array(1, np.int32))], ["best"], most)
    net.ends(["ids"], ["scores", "best"])
    net.sign("serving_default", {"ids": "ids"}, {"scores": "scores", "best": "best"})
    return net


def state() -> Net:
    """`x: float32[1, 8]`, `h: float32[2, 1, 8]` → `y`, and the new state of the same shape."""
    net, ws = Net(), weights(classes=8)
    net.tensor("x", (1, 8))
    net.tensor("h", (2, 1, 8))
    net.tensor("both", (2, 1, 8))
    net.op("ADD", ["h", "x"], ["both"], schema.AddOptionsT())
    net.tensor("h_new", (2, 1, 8))
    net.op("TANH", ["both"], ["h_new"])
    net.tensor("sum", (1, 8))
    net.op("SUM", ["h_new", net.constant("axis", np.array([0], np.int32))], ["sum"], schema.ReducerOptionsT())
    dense(net, dense(net, "sum", "hidden", ws[0], ws[1], relu=True), "y", ws[2], ws[3])
    net.ends(["x", "h"], ["y", "h_new"])
    net.sign("serving_default", {"x": "x", "h": "h"}, {"y": "y", "h_new": "h_new"})
    return net


def variables() -> Net:
    """A recurrent layer of older converters, which keeps its state in a tensor of its own."""
    net, rng = Net(), np.random.default_rng(3)
    net.tensor("x", (1, 6, 8))
    w = [rng.normal(size=s).astype(np.float32) / 3 for s in ((4, 8), (4, 4), (4,))]
    net.tensor("h", (1, 4), variable=True)
    net.tensor("y", (1, 6, 4))
    options = schema.SequenceRNNOptionsT()
    options.fusedActivationFunction = 4  # tanh
    names = [net.constant(f"w{i}", a) for i, a in enumerate(w)]
    net.op("UNIDIRECTIONAL_SEQUENCE_RNN", ["x", *names, "h"], ["y"], options)
    net.ends(["x"], ["y"])
    return net


def remembers() -> Net:
    """A resource variable that a call writes and the next one reads."""
    net = Net()
    net.tensor("x", (1, 8))
    net.tensor("handle", (), "resource")
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = b"", b"kept"
    net.op("VAR_HANDLE", [], ["handle"], options)
    net.op("ASSIGN_VARIABLE", ["handle", "x"], [], schema.AssignVariableOptionsT())
    net.tensor("y", (1, 8))
    net.op("READ_VARIABLE", ["handle"], ["y"], schema.ReadVariableOptionsT())
    net.ends(["x"], ["y"])
    return net


def of_an_operator(name: bytes) -> Net:
    """A layer after an operator that is not built in; those of TensorFlow itself begin with `Flex`."""
    net = Net()
    net.tensor("x", (1, 8))
    net.tensor("y", (1, 8))
    net.op("CUSTOM", ["x"], ["y"])
    net.model.operatorCodes[0].customCode = name
    net.ends(["x"], ["y"])
    return net


def of_text() -> Net:
    """Text in, and the same out."""
    net = Net()
    net.tensor("x", (1, 8))
    net.graph.tensors[0].type = schema.TensorType.STRING
    net.ends(["x"], ["x"])
    return net


def no_batch_axis() -> Net:
    """`x: float32[8]` → `y: float32[3]`: one sample is a vector, and nothing counts samples."""
    net, ws = Net(), weights()
    net.tensor("x", (8,))
    net.tensor("row", (1, 8))
    net.op("RESHAPE", ["x", net.constant("shape", np.array([1, 8], np.int32))], ["row"], schema.ReshapeOptionsT())
    dense(net, dense(net, "row", "hidden", ws[0], ws[1], relu=True), "out", ws[2], ws[3])
    net.tensor("y", (3,))
    net.op("RESHAPE", ["out", net.constant("flat", np.array([3], np.int32))], ["y"], schema.ReshapeOptionsT())
    net.ends(["x"], ["y"])
    return net


def free_length(least: int = 4) -> Net:
    """`x: float32[1, any ≥ least, 8]` → `y: float32[1, 3]`: a window over time, then the mean."""
    net, ws, rng = Net(), weights(inputs=6), np.random.default_rng(4)
    net.tensor("x", (1, -1, 8))
    net.tensor("image", (1, 1, -1, 8))
    net.op(
        "EXPAND_DIMS", ["x", net.constant("one", np.array(1, np.int32))], ["image"], schema.ExpandDimsOptionsT()
    )
    net.tensor("window", (1, 1, -1, 6))
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    kernel = net.constant("kernel", rng.normal(size=(6, 1, least, 8)).astype(np.float32) / 5)
    net.op("CONV_2D", ["image", kernel, net.constant("zero", np.zeros(6, np.float32))], ["window"], options)
    net.tensor("mean", (1, 6))
    net.op(
        "MEAN", ["window", net.constant("axes", np.array([1, 2], np.int32))], ["mean"], schema.ReducerOptionsT()
    )
    dense(net, dense(net, "mean", "hidden", ws[0], ws[1], relu=True), "y", ws[2], ws[3])
    net.ends(["x"], ["y"])
    return net


def half_weights() -> Net:
    """Weights stored in float16 and widened while running."""
    net, ws = Net(), weights()
    net.tensor("x", (1, 8))
    x = "x"
    for name, w, b in (("hidden", ws[0], ws[1]), ("y", ws[2], ws[3])):
        net.constant(f"{name}/half", w.astype(np.float16))
        net.tensor(f"{name}/w", w.shape)
        net.op("DEQUANTIZE", [f"{name}/half"], [f"{name}/w"], schema.DequantizeOptionsT())
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = int(name == "hidden")
        net.tensor(name, (1, len(w)))
        net.op("FULLY_CONNECTED", [x, f"{name}/w", net.constant(f"{name}/b", b)], [name], options)
        x = name
    net.ends(["x"], ["y"])
    return net


def branches() -> Net:
    """The served graph is the second; both branches of its IF are graphs of their own."""
    net = Net()
    for kind, name in (("ADD", "double"), ("MUL", "square")):
        if net.graph.tensors:
            net.subgraph(name)
        net.tensor("a", (1, 8))
        net.tensor("b", (1, 8))
        net.op(kind, ["a", "a"], ["b"], schema.AddOptionsT() if kind == "ADD" else schema.MulOptionsT())
        net.ends(["a"], ["b"])
    net.subgraph("main")
    net.tensor("which", (1,), "int32")
    net.tensor("x", (1, 8))
    net.tensor("yes", (1,), "bool")
    net.op("GREATER", ["which", net.constant("zero", np.array([0], np.int32))], ["yes"], schema.GreaterOptionsT())
    net.tensor("y", (1, 8))
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 0, 1
    net.op("IF", ["yes", "x"], ["y"], options)
    net.ends(["which", "x"], ["y"])
    net.sign("serving_default", {"which": "which", "x": "x"}, {"y": "y"}, subgraph=2)
    return net


#: Kinds that are built and served → inputs of one sample each, by name, of a generator of random numbers.
Draw = Callable[[np.random.Generator], dict[str, Array]]


def _floats(name: str, *shape: int) -> Draw:
    return lambda rng: {name: rng.normal(size=shape).astype(np.float32)}


def _pictures(rng: np.random.Generator) -> dict[str, Array]:
    return {"picture": rng.integers(0, 256, (1, 8)).astype(np.uint8)}


SERVED: dict[str, tuple[Callable[[], Net], Draw]] = {
    "unsigned": (plain, _floats("x", 1, 8)),
    "deprecated": (deprecated_codes, _floats("x", 1, 8)),
    "nameless": (nameless, _floats("input_0", 1, 8)),
    "several": (several_signatures, _floats("x", 1, 8)),
    "bytes": (bytes_in_and_out, _pictures),
    "own-dynamic": (own_dynamic, _floats("x", 1, 8)),
    "own-static": (own_static, lambda rng: {"x": rng.integers(-128, 128, (1, 8)).astype(np.int8)}),
    "tokens": (tokens, lambda rng: {"ids": rng.integers(0, 20, (1, 5))}),
    "state": (state, lambda rng: _floats("x", 1, 8)(rng) | _floats("h", 2, 1, 8)(rng)),
    "variables": (variables, _floats("x", 1, 6, 8)),
    "no-batch": (no_batch_axis, _floats("x", 8)),
    "free-batch": (lambda: signed(-1), _floats("x", 1, 8)),
    "half": (half_weights, _floats("x", 1, 8)),
    "branches": (
        branches,
        lambda rng: {"which": rng.integers(0, 2, (1,)).astype(np.int32)} | _floats("x", 1, 8)(rng),
    ),
}

__all__ = ["SERVED", "answer", "free_length", "remembers"]
