"""ONNX files of the kinds that people bring, small; each with inputs for it, and where they count samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node


@dataclass
class Kind:
    """A model, arrays of `COUNT` samples for its inputs, and what is told of it.

    Attributes:
        axes: the sample axis of each input in a call.
        batch_free: does it take several samples at once.
        undrawn: does the file not say enough for inputs to be drawn.
        runs: does onnxruntime run the file as it is.
    """

    model: Any
    inputs: dict[str, np.ndarray]
    axes: dict[str, int | None]
    batch_free: bool = True
    undrawn: bool = False
    runs: bool = True


COUNT = 40
KINDS: dict[str, Callable[[], Kind]] = {}


def kind(made: Callable[[], Kind]) -> Callable[[], Kind]:
    KINDS[made.__name__] = made
    return made


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return rng().normal(size=shape).astype(np.float32)


def weights(*shape: int) -> np.ndarray:
    return floats(*shape) / 4


def port(name: str, shape: Sequence[int | str | None] | None, dtype: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], constants: dict[str, Any], *,
    opset: int = 17, ir: int = 8, domains: Sequence[tuple[str, int]] = (), functions: Sequence[Any] = (),
) -> Any:  # fmt: skip
    held = [numpy_helper.from_array(v, k) if isinstance(v, np.ndarray) else v for k, v in constants.items()]
    imports = [helper.make_opsetid(*pair) for pair in [("", opset), *domains]]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), held)
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=ir)


def dense(x: str = "x", y: str = "y", width: int = 8) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Two layers, `[n, width] → [n, 3]`."""
    constants = {"w1": weights(width, 16), "b1": weights(16), "w2": weights(16, 3)}
    nodes = [node("Gemm", [x, "w1", "b1"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w2"], [y])]
    return nodes, constants


ROWS, SCORES = port("x", ["N", 8]), port("y", ["N", 3])
X = {"x": floats(COUNT, 8)}
FIRST: dict[str, int | None] = {"x": 0}


def of_opset(opset: int, ir: int) -> Kind:
    nodes, constants = dense()
    # Before opset 7 Gemm does not broadcast; before IR 4 constants may not be listed, and some writers leave them out.
    nodes[0] = node("MatMul", ["x", "w1"], ["h"])
    del constants["b1"]
    made = model(nodes, [ROWS], [SCORES], constants, opset=opset, ir=ir)
    if opset == 7:
        made.graph.input.extend(port(name, value.shape) for name, value in constants.items())
    return Kind(made, X, FIRST)


for _opset, _ir in ((6, 3), (7, 3), (9, 4), (11, 6), (15, 8), (21, 10), (23, 11), (25, 13)):
    KINDS[f"opset_{_opset}"] = partial(of_opset, _opset, _ir)


@kind
def graph_without_a_name() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [SCORES], constants)
    made.graph.name = ""
    return Kind(made, X, FIRST)


@kind
def free_axes_written_as_0() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes, [port("x", [0, 8])], [port("y", [0, 3])], constants), X, FIRST, runs=False)


@kind
def normalised_by_an_old_opset() -> Kind:
    nodes, constants = dense("n")
    constants |= {name: floats(8) ** 2 + 1 for name in ("scale", "bias", "mean", "variance")}
    inputs = ["x", "scale", "bias", "mean", "variance"]
    nodes[0] = node("MatMul", ["n", "w1"], ["h"])
    nodes.insert(0, node("BatchNormalization", inputs, ["n"], is_test=1))
    return Kind(model(nodes, [ROWS], [SCORES], constants, opset=6, ir=3), X, FIRST, runs=False)


@kind
def nodes_out_of_order() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes[::-1], [ROWS], [SCORES], constants), X, FIRST)


@kind
def nodes_of_one_name() -> Kind:
    nodes, constants = dense()
    for one in nodes:
        one.name = "layer"
    return Kind(model(nodes, [ROWS], [SCORES], constants), X, FIRST, runs=False)


@kind
def long_domain() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [SCORES], constants)
    for message in (*made.opset_import, *made.graph.node):
        message.domain = "ai.onnx"
    return Kind(made, X, FIRST)


@kind
def sparse_weights() -> Kind:
    whole = weights(8, 3) * (floats(8, 3) > 0)
    places = np.argwhere(whole)
    values = helper.make_tensor("w", FLOAT, [len(places)], whole[tuple(places.T)])
    indices = helper.make_tensor("w_places", INT64, places.shape, places.ravel())
    made = model([node("MatMul", ["x", "w"], ["y"])], [ROWS], [SCORES], {})
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8, 3]))
    return Kind(made, X, FIRST)


@kind
def output_without_shape() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes, [ROWS], [port("y", None)], constants), X, FIRST)


@kind
def constant_among_inputs() -> Kind:
    nodes, constants = dense("scaled")
    nodes.insert(0, node("Mul", ["x", "gain"], ["scaled"]))
    gain = np.array([1.5], np.float32)
    return Kind(model(nodes, [ROWS, port("gain", [1])], [SCORES], constants | {"gain": gain}), X, FIRST)


@kind
def bfloat16_inside() -> Kind:
    nodes, constants = dense("narrow", "wide")
    nodes = [
        node("Cast", ["x"], ["narrow"], to=TensorProto.BFLOAT16),
        *nodes,
        node("Cast", ["wide"], ["y"], to=FLOAT),
    ]
    narrow = {k: helper.make_tensor(k, TensorProto.BFLOAT16, v.shape, v.ravel()) for k, v in constants.items()}
    return Kind(model(nodes, [ROWS], [SCORES], narrow), X, FIRST, runs=False)


@kind
def booleans() -> Kind:
    nodes, constants = dense("kept")
    nodes = [node("Where", ["mask", "x", "none"], ["kept"]), *nodes, node("Greater", ["y", "none"], ["above"])]
    inputs = [ROWS, port("mask", ["N", 8], TensorProto.BOOL)]
    outputs = [SCORES, port("above", ["N", 3], TensorProto.BOOL)]
    made = model(nodes, inputs, outputs, constants | {"none": np.array(0, np.float32)})
    return Kind(made, X | {"mask": floats(COUNT, 8) > 0}, {"x": 0, "mask": 0})


@kind
def bytes_in_and_out() -> Kind:
    nodes, constants = dense("real", "answer")
    nodes = [node("Cast", ["x"], ["real"], to=FLOAT), *nodes, node("Cast", ["answer"], ["y"], to=TensorProto.INT8)]
    made = model(
        nodes, [port("x", ["N", 8], TensorProto.INT8)], [port("y", ["N", 3], TensorProto.INT8)], constants
    )
    return Kind(made, {"x": rng().integers(-128, 128, (COUNT, 8)).astype(np.int8)}, FIRST)


@kind
def pixels_channels_last() -> Kind:
    """As converters of TensorFlow write: bytes, channels last, transposed around the convolution; names with a colon."""
    nodes = [
        node("Cast", ["image:0"], ["real"], to=FLOAT), node("Transpose", ["real"], ["first"], perm=[0, 3, 1, 2]),
        node("Conv", ["first", "k"], ["seen"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Transpose", ["seen"], ["last"], perm=[0, 2, 3, 1]),
        node("ReduceMean", ["last"], ["PartitionedCall:0"], axes=[1, 2], keepdims=0),
    ]  # fmt: skip
    made = model(
        nodes, [port("image:0", ["unk__7", 8, 8, 3], TensorProto.UINT8)], [port("PartitionedCall:0", ["unk__8", 4])],
        {"k": weights(4, 3, 3, 3)}, opset=13,
    )  # fmt: skip
    return Kind(made, {"image:0": rng().integers(0, 256, (COUNT, 8, 8, 3)).astype(np.uint8)}, {"image:0": 0})


@kind
def constants_as_nodes() -> Kind:
    """As converters of Paddle write: opset 11, -1 for free, names with dots, weights in Constant nodes."""
    nodes, constants = dense("x0.tmp_0", "save_infer_model/scale_0.tmp_1")
    held = [node("Constant", [], [name], value=numpy_helper.from_array(v, name)) for name, v in constants.items()]
    inputs, outputs = [port("x0.tmp_0", [-1, 8])], [port("save_infer_model/scale_0.tmp_1", [-1, 3])]
    return Kind(model([*held, *nodes], inputs, outputs, {}, opset=11, ir=5), {"x0.tmp_0": X["x"]}, {"x0.tmp_0": 0})


@kind
def local_functions() -> Kind:
    body = [node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["out"])]
    layer = helper.make_function("own", "Layer", ["a", "w"], ["out"], body, [helper.make_opsetid("", 17)], [])
    nodes = [node("Layer", ["x", "w1"], ["h"], domain="own"), node("Layer", ["h", "w2"], ["y"], domain="own")]
    constants = {"w1": weights(8, 16), "w2": weights(16, 3)}
    return Kind(model(nodes, [ROWS], [SCORES], constants, domains=[("own", 1)], functions=[layer]), X, FIRST)


@kind
def branches() -> Kind:
    """The branch is chosen by all that is in a call: two samples in one are not answered as each alone."""
    nodes, constants = dense(y="scores")
    arms = [
        helper.make_graph([node("Mul", ["scores", n], [f"{n}_out"])], n, [], [port(f"{n}_out", None)], [
            numpy_helper.from_array(np.array(k, np.float32), n)
        ])
        for n, k in (("one", 1), ("two", 2))
    ]  # fmt: skip
    nodes += [
        node("ReduceSum", ["x"], ["all"], keepdims=0), node("Greater", ["all", "none"], ["which"]),
        node("If", ["which"], ["y"], then_branch=arms[0], else_branch=arms[1]),
    ]  # fmt: skip
    made = model(nodes, [ROWS], [SCORES], constants | {"none": np.array(0, np.float32)})
    return Kind(made, X, FIRST, batch_free=False)


@kind
def loop() -> Kind:
    body = helper.make_graph(
        [node("Tanh", ["state"], ["next"]), node("Identity", ["go"], ["still"])], "body",
        [port("step", [], INT64), port("go", [], TensorProto.BOOL), port("state", None)],
        [port("still", [], TensorProto.BOOL), port("next", None)],
    )  # fmt: skip
    nodes, constants = dense("looped")
    nodes.insert(0, node("Loop", ["times", "yes", "x"], ["looped"], body=body))
    more = {"times": np.array(4), "yes": np.array(True)}
    return Kind(model(nodes, [ROWS], [SCORES], constants | more), X, FIRST)


@kind
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


@kind
def time_first() -> Kind:
    nodes = [node("RNN", ["x", "W", "R"], ["", "last"], hidden_size=4), node("Squeeze", ["last", "zero"], ["y"])]
    constants = {"W": weights(1, 4, 3), "R": weights(1, 4, 4), "zero": np.array([0])}
    made = model(nodes, [port("x", [6, "batch", 3])], [port("y", ["batch", 4])], constants)
    return Kind(made, {"x": floats(6, COUNT, 3)}, {"x": 1})


@kind
def no_sample_axis() -> Kind:
    """A window of sound: 64 numbers are one sample, not 64."""
    nodes = [
        node("Reshape", ["x", "row"], ["r"]),
        node("MatMul", ["r", "w"], ["m"]),
        node("Squeeze", ["m"], ["y"]),
    ]
    made = model(nodes, [port("x", [64])], [port("y", [])], {"row": np.array([1, 64]), "w": weights(64, 1)})
    return Kind(made, {"x": floats(COUNT, 64)}, {"x": None}, batch_free=False)


@kind
def number_for_all() -> Kind:
    nodes, constants = dense("scaled")
    nodes.insert(0, node("Mul", ["x", "gain"], ["scaled"]))
    made = model(nodes, [ROWS, port("gain", [])], [SCORES], constants)
    return Kind(made, X | {"gain": np.array(1.5, np.float32)}, {"x": 0, "gain": None})


@kind
def one_at_a_time() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [port("x", [1, 8])], [port("y", [1, 3])], constants)
    return Kind(made, X, FIRST, batch_free=False)


@kind
def free_height_and_width() -> Kind:
    nodes = [node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1])]
    made = model(
        nodes, [port("x", ["N", 3, "H", "W"])], [port("y", ["N", 2, "H", "W"])], {"k": weights(2, 3, 3, 3)}
    )
    return Kind(made, {"x": floats(COUNT, 3, 6, 5)}, FIRST, undrawn=True)


@kind
def rows_found() -> Kind:
    """As many rows as are found in a call."""
    nodes, constants = dense()
    nodes += [node("Greater", ["y", "least"], ["is"]), node("NonZero", ["is"], ["where"])]
    made = model(
        nodes, [ROWS], [SCORES, port("where", [2, "K"], INT64)], constants | {"least": np.array(0.4, np.float32)}
    )
    return Kind(made, X, FIRST, batch_free=False)


@kind
def constant_outputs() -> Kind:
    nodes, constants = dense()
    nodes += [node("Identity", ["version"], ["made_by"]), node("Identity", ["x"], ["echo"])]
    outputs = [SCORES, port("made_by", [1], INT64), port("anchors", [4, 2]), port("echo", ["N", 8])]
    made = model(nodes, [ROWS], outputs, constants | {"version": np.array([3]), "anchors": weights(4, 2)})
    return Kind(made, X, FIRST)


@kind
def input_without_elements() -> Kind:
    nodes, constants = dense("joined")
    nodes.insert(0, node("Concat", ["x", "more"], ["joined"], axis=1))
    made = model(nodes, [ROWS, port("more", ["N", "M"])], [SCORES], constants)
    return Kind(made, X | {"more": floats(COUNT, 0)}, {"x": 0, "more": 0}, undrawn=True)


@kind
def input_called_labels() -> Kind:
    nodes, constants = dense("labels")
    return Kind(model(nodes, [port("labels", ["N", 8])], [SCORES], constants), {"labels": X["x"]}, {"labels": 0})


@kind
def numbers_missing() -> Kind:
    nodes, constants = dense("whole")
    nodes = [node("IsNaN", ["x"], ["gone"]), node("Where", ["gone", "none", "x"], ["whole"]), *nodes]
    made = model(nodes, [ROWS], [SCORES], constants | {"none": np.array(0, np.float32)})
    return Kind(made, {"x": np.where(X["x"] > 1, np.nan, X["x"]).astype(np.float32)}, FIRST)


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


def refused(made: Callable[[], Refused]) -> Callable[[], Refused]:
    REFUSED[made.__name__] = made
    return made


@refused
def laid_out_for_a_processor() -> Refused:
    nodes = [node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc", channels_last=0)]
    inputs, outputs = [port("x", ["N", 16, 8, 8])], [port("y", ["N", 16, 8, 8])]
    made = model(nodes, inputs, outputs, {}, domains=[("com.microsoft.nchwc", 1)])
    return Refused(made, "source-invalid", "for the processor of the machine that wrote it")


@refused
def operator_of_ones_own() -> Refused:
    nodes, constants = dense("n")
    made = model(
        [node("Norm", ["x"], ["n"], domain="acme"), *nodes], [ROWS], [SCORES], constants, domains=[("acme", 1)]
    )
    return Refused(made, "unsupported-operator", "uses the operator acme.Norm, which onnxruntime does not have")


@refused
def operator_without_a_kernel() -> Refused:
    nodes = [node("ImageDecoder", ["x"], ["y"], pixel_format="RGB")]
    inputs, outputs = [port("x", ["n"], TensorProto.UINT8)], [port("y", ["h", "w", 3], TensorProto.UINT8)]
    made = model(nodes, inputs, outputs, {}, opset=20, ir=9)
    return Refused(made, "unsupported-operator", "cannot compute ImageDecoder")


@refused
def by_chance() -> Refused:
    nodes, constants = dense("noisy")
    nodes = [node("RandomNormalLike", ["x"], ["noise"]), node("Add", ["x", "noise"], ["noisy"]), *nodes]
    made = model(nodes, [ROWS], [SCORES], constants)
    return Refused(made, "source-invalid", "answers the same sample otherwise each time: y is drawn by chance")


@refused
def sequence_of_inputs() -> Refused:
    nodes, constants = dense("joined")
    nodes.insert(0, node("ConcatFromSequence", ["x"], ["joined"], axis=1))
    tensors = helper.make_tensor_type_proto(FLOAT, ["N", 4])
    inputs = [helper.make_value_info("x", helper.make_sequence_type_proto(tensors))]
    return Refused(model(nodes, inputs, [SCORES], constants), "source-invalid", "is not a tensor (sequence)")


@refused
def batch_of_eight() -> Refused:
    nodes, constants = dense()
    made = model(nodes, [port("x", [8, 8])], [port("y", [8, 3])], constants)
    return Refused(made, "shape-mismatch", "takes exactly 8 samples at once")


@refused
def input_without_shape() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [port("x", None)], [SCORES], constants), "source-invalid", "how many axes x has")


@refused
def nothing_to_ask() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [ROWS], [], constants), "source-invalid", "has no outputs")


@refused
def missing_without_a_use() -> Refused:
    nodes, constants = dense()
    holes = np.where(X["x"] > 1, np.nan, X["x"]).astype(np.float32)
    return Refused(
        model(nodes, [ROWS], [SCORES], constants), "source-invalid", "of the input x holds NaN", {"x": holes}
    )


@refused
def of_4_bits() -> Refused:
    nodes, constants = dense("wide")
    nodes.insert(0, node("Cast", ["x"], ["wide"], to=FLOAT))
    made = model(nodes, [port("x", ["N", 8], TensorProto.INT4)], [SCORES], constants, opset=21, ir=10)
    return Refused(made, "source-invalid", "x of given.onnx is of int4, which a request can neither give nor be")


@refused
def too_old_to_raise() -> Refused:
    nodes, constants = dense()
    nodes[0] = node("Gemm", ["x", "w1", "b1"], ["h"], broadcast=1)
    made = model(nodes, [ROWS], [SCORES], constants, opset=5, ir=3)
    return Refused(made, "unsupported-operator", "is of opset 5, and onnxruntime has Gemm from 7 on")


@refused
def of_a_later_form() -> Refused:
    nodes, constants = dense()
    return Refused(model(nodes, [ROWS], [SCORES], constants, ir=99), "load-failed", "is of IR version 99, which")


@refused
def another_type_than_it_says() -> Refused:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [port("y", ["N", 3], INT64)], constants)
    return Refused(
        made, "load-failed", "cannot open given.onnx: Fail: Type Error: Type (tensor(int64)) of output arg (y)"
    )
