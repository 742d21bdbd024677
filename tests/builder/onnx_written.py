"""ONNX files as converters, exporters and people write them: of every opset, in odd order, with functions and branches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

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


@listed(KINDS)
def graph_without_a_name() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [SCORES], constants)
    made.graph.name = ""
    return Kind(made, X, FIRST)


@listed(KINDS)
def free_axes_written_as_0() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes, [port("x", [0, 8])], [port("y", [0, 3])], constants), X, FIRST, runs=False)


@listed(KINDS)
def normalised_by_an_old_opset() -> Kind:
    nodes, constants = dense("n")
    constants |= {name: floats(8) ** 2 + 1 for name in ("scale", "bias", "mean", "variance")}
    inputs = ["x", "scale", "bias", "mean", "variance"]
    nodes[0] = node("MatMul", ["n", "w1"], ["h"])
    nodes.insert(0, node("BatchNormalization", inputs, ["n"], is_test=1))
    return Kind(model(nodes, [ROWS], [SCORES], constants, opset=6, ir=3), X, FIRST, runs=False)


@listed(KINDS)
def nodes_out_of_order() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes[::-1], [ROWS], [SCORES], constants), X, FIRST)


@listed(KINDS)
def nodes_of_one_name() -> Kind:
    nodes, constants = dense()
    for one in nodes:
        one.name = "layer"
    return Kind(model(nodes, [ROWS], [SCORES], constants), X, FIRST, runs=False)


@listed(KINDS)
def long_domain() -> Kind:
    nodes, constants = dense()
    made = model(nodes, [ROWS], [SCORES], constants)
    for message in (*made.opset_import, *made.graph.node):
        message.domain = "ai.onnx"
    return Kind(made, X, FIRST)


@listed(KINDS)
def sparse_weights() -> Kind:
    whole = weights(8, 3) * (floats(8, 3) > 0)
    places = np.argwhere(whole)
    values = helper.make_tensor("w", FLOAT, [len(places)], whole[tuple(places.T)])
    indices = helper.make_tensor("w_places", INT64, places.shape, places.ravel())
    made = model([node("MatMul", ["x", "w"], ["y"])], [ROWS], [SCORES], {})
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8, 3]))
    return Kind(made, X, FIRST)


@listed(KINDS)
def output_without_shape() -> Kind:
    nodes, constants = dense()
    return Kind(model(nodes, [ROWS], [port("y", None)], constants), X, FIRST)


@listed(KINDS)
def constant_among_inputs() -> Kind:
    nodes, constants = dense("scaled")
    nodes.insert(0, node("Mul", ["x", "gain"], ["scaled"]))
    gain = np.array([1.5], np.float32)
    return Kind(model(nodes, [ROWS, port("gain", [1])], [SCORES], constants | {"gain": gain}), X, FIRST)


@listed(KINDS)
def bfloat16_inside() -> Kind:
    nodes, constants = dense("narrow", "wide")
    nodes = [
        node("Cast", ["x"], ["narrow"], to=TensorProto.BFLOAT16),
        *nodes,
        node("Cast", ["wide"], ["y"], to=FLOAT),
    ]
    narrow = {k: helper.make_tensor(k, TensorProto.BFLOAT16, v.shape, v.ravel()) for k, v in constants.items()}
    return Kind(model(nodes, [ROWS], [SCORES], narrow), X, FIRST, runs=False)


@listed(KINDS)
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


@listed(KINDS)
def constants_as_nodes() -> Kind:
    """As converters of Paddle write: opset 11, -1 for free, names with dots, weights in Constant nodes."""
    nodes, constants = dense("x0.tmp_0", "save_infer_model/scale_0.tmp_1")
    held = [node("Constant", [], [name], value=numpy_helper.from_array(v, name)) for name, v in constants.items()]
    inputs, outputs = [port("x0.tmp_0", [-1, 8])], [port("save_infer_model/scale_0.tmp_1", [-1, 3])]
    return Kind(model([*held, *nodes], inputs, outputs, {}, opset=11, ir=5), {"x0.tmp_0": X["x"]}, {"x0.tmp_0": 0})


@listed(KINDS)
def local_functions() -> Kind:
    body = [node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["out"])]
    layer = helper.make_function("own", "Layer", ["a", "w"], ["out"], body, [helper.make_opsetid("", 17)], [])
    nodes = [node("Layer", ["x", "w1"], ["h"], domain="own"), node("Layer", ["h", "w2"], ["y"], domain="own")]
    constants = {"w1": weights(8, 16), "w2": weights(16, 3)}
    return Kind(model(nodes, [ROWS], [SCORES], constants, domains=[("own", 1)], functions=[layer]), X, FIRST)


@listed(KINDS)
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


@listed(KINDS)
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


def sequences() -> Any:
    """Its outputs are no tensors: two in a sequence, and an answer in pieces."""
    nodes, constants = dense()
    nodes += [node("SequenceConstruct", ["y", "h"], ["both"]), node("SplitToSequence", ["y"], ["pieces"], axis=1)]
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    outputs = [helper.make_value_info(name, kind) for name in ("both", "pieces")]
    return model(nodes, [ROWS], outputs, constants)
