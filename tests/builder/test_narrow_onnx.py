"""Dynamic int8 and weight-only of ONNX graphs, opened by onnxruntime alone and held against the float graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelift_builder import known_bad
from edgelift_builder.optimise import balance, dynamic_onnx, weight_only
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import this_machine

pytestmark = pytest.mark.builder

RNG = np.random.default_rng(0)
WORDS, WIDTH = 500, 64


def net(path: Path, nodes: list[onnx.NodeProto], weights: dict[str, Any], given: int, ends: str = "y") -> Path:
    """A float graph with the input `x` of element type `given` and the output `ends`."""
    tensors = [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()]
    inputs = [helper.make_tensor_value_info("x", given, None)]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info(ends, TensorProto.FLOAT, None)], tensors
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), name=f"the_{outputs}", **attributes)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def answer(path: Path, x: np.ndarray, **entries: str) -> np.ndarray:
    options = ort.SessionOptions()
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def dynamic(tmp_path: Path, model: Path, **settings: bool) -> tuple[Path, list[str], list[str]]:
    out = tmp_path / "out"
    out.mkdir()
    # Seven bits where this machine's kernels add in sixteen, as the builder has it: what is full there saturates.
    here: dict[str, Any] = {"per_channel": True, "reduce_range": this_machine() == "x86-64-avx2"}
    _, left, tied = dynamic_onnx.quantise(str(model), here | settings, str(out))
    return out / "model.onnx", left, tied


def kinds(path: Path) -> list[str]:
    return [n.op_type for n in onnx.load(path).graph.node]


def lstm(layout: int = 0, directions: int = 2) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    side = {"direction": "bidirectional"} if directions == 2 else {}
    weights = {"w": normal(directions, 4 * WIDTH, WIDTH), "r": normal(directions, 4 * WIDTH, WIDTH) / 8}
    weights = {n: w * np.linspace(0.05, 1, 4 * WIDTH, dtype=np.float32)[None, :, None] for n, w in weights.items()}
    return [node("LSTM", "x w r", "y", hidden_size=WIDTH, layout=layout, **side)], weights


@pytest.mark.parametrize("directions", [1, 2])
def test_an_lstm_keeps_a_scale_for_every_channel(tmp_path: Path, directions: int) -> None:
    nodes, weights = lstm(directions=directions)
    model = net(tmp_path / "in" / "m.onnx", nodes, weights, TensorProto.FLOAT)
    made, left, _ = dynamic(tmp_path, model)
    assert kinds(made) == ["DynamicQuantizeLSTM"] and left == []
    x = normal(20, 1, WIDTH)
    assert apart(answer(made, x), answer(model, x)) < 0.03


def test_an_lstm_of_another_layout_stays_as_it_is(tmp_path: Path) -> None:
    """The quantiser would forget its layout, and answer something else."""
    nodes, weights = lstm(layout=1)
    nodes.append(node("MatMul", "y v", "z"))
    model = net(tmp_path / "in" / "m.onnx", nodes, weights | {"v": normal(WIDTH, WIDTH)}, TensorProto.FLOAT, "z")
    with pytest.raises(Exception, match=r"[Ll]ayout|batch"):
        answer(model, normal(1, 20, WIDTH))  # the runtime has no kernel for it either: nothing to quantise
    assert "the_y" in dynamic_onnx.left_alone(onnx.load(model).graph)


TIED = [node("Gather", "e x", "h"), node("Tanh", "h", "t"), node("Gemm", "t e", "y", transB=1)]


def table() -> np.ndarray:
    """Rows whose vectors are of very different lengths, as of rare and of frequent words."""
    return normal(WORDS, WIDTH) * np.geomspace(0.01, 1, WORDS, dtype=np.float32)[:, None]


def test_rows_of_an_embedding_have_ranges_of_their_own(tmp_path: Path) -> None:
    nodes = [node("Gather", "e x", "h"), node("MatMul", "h w", "y")]
    model = net(tmp_path / "in" / "m.onnx", nodes, {"e": table(), "w": normal(WIDTH, WIDTH)}, TensorProto.INT64)
    made, left, _ = dynamic(tmp_path, model)
    assert left == [] and made.stat().st_size + made.with_name("weights.bin").stat().st_size < 45_000  # of 145,000
    for row in (0, 7, WORDS - 1):
        x = np.array([row], np.int64)
        assert apart(answer(made, x), answer(model, x)) < 0.03


def test_a_tied_table_is_narrowed_for_each_of_its_uses_and_named(tmp_path: Path) -> None:
    model = net(tmp_path / "in" / "m.onnx", TIED, {"e": table()}, TensorProto.INT64)
    made, _, tied = dynamic(tmp_path, model)
    assert tied == ["e"]
    x = np.array([3, 400], np.int64)
    assert apart(answer(made, x), answer(model, x)) < 0.03
    out = tmp_path / "weights"
    out.mkdir()
    weight_only.quantise(str(model), {"bits": 8, "group": 32}, str(out))
    assert apart(answer(out / "model.onnx", x), answer(model, x)) < 0.03


def test_a_small_last_layer_stays_float_and_nothing_else_is_said_to_be(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h v", "y")]
    weights = {"w": normal(WIDTH, WIDTH), "v": normal(WIDTH, 3)}
    model = net(tmp_path / "in" / "m.onnx", nodes, weights, TensorProto.FLOAT)
    made, left, _ = dynamic(tmp_path, model)
    assert left == ["the_y (MatMul)"] and kinds(made).count("MatMulInteger") == 1
    only_small = net(
        tmp_path / "in" / "s.onnx", [node("MatMul", "x v", "y")], {"v": normal(WIDTH, 3)}, TensorProto.FLOAT
    )
    with pytest.raises(
        ContractError, match=r"its matrix product is too small to gain, of 192 weights at most"
    ) as caught:
        dynamic_onnx.quantise(str(only_small), {"per_channel": True, "reduce_range": False}, str(tmp_path / "out"))
    assert "static-int8" in caught.value.hint


def test_what_has_no_dynamic_form_is_told_apart_from_what_is_too_small(tmp_path: Path) -> None:
    nodes = [
        node("GRU", "x w r", "s last", hidden_size=8), node("Squeeze", "last", "h"), node("MatMul", "h v", "m"),
        node("MatMul", "m u", "y"),
    ]  # fmt: skip
    weights = {
        n: np.ones(s, np.float32)
        for n, s in {"w": (1, 24, 4), "r": (1, 24, 8), "v": (8, 16), "u": (16, 3)}.items()
    }
    model = net(tmp_path / "in" / "m.onnx", nodes, weights, TensorProto.FLOAT)
    with pytest.raises(ContractError) as caught:
        dynamic(tmp_path, model)
    said = caught.value.message
    assert "2 matrix products are too small to gain, of 128 weights at most" in said, said
    assert "no dynamic form of the_s last (GRU)" in said


@pytest.mark.parametrize("kind", ["product", "lstm"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_without_vnni_no_pair_of_weights_saturates_and_with_it_the_range_is_full(
    tmp_path: Path, kind: str, per_channel: bool
) -> None:
    nodes, weights = ([node("MatMul", "x w", "y")], {"w": normal(WIDTH, 200)}) if kind == "product" else lstm()
    model = net(tmp_path / "in" / "m.onnx", nodes, weights, TensorProto.FLOAT)
    made, _, _ = dynamic(tmp_path, model, reduce_range=True, per_channel=per_channel)
    known_bad.check(made, "onnxruntime", "x86-64-avx2", ">=1.17", "it")
    x = normal(4, 1, WIDTH)
    assert apart(answer(made, x), answer(model, x)) < (0.03 if per_channel else 0.1)
    (tmp_path / "out").rename(tmp_path / "narrower")
    full, _, _ = dynamic(tmp_path, model, per_channel=per_channel, reduce_range=False)
    with pytest.raises(ContractError, match="saturates"):
        known_bad.check(full, "onnxruntime", "x86-64-avx2", ">=1.17", "it")


@pytest.mark.parametrize(
    ("made_of", "shape"),
    [
        ([node("Conv", "x w", "y", pads=[1, 1, 1, 1])], {"w": (64, 16, 3, 3), "x": (1, 16, 8, 8)}),
        ([node("Conv", "x w", "y", group=4)], {"w": (64, 32, 3, 3), "x": (1, 128, 8, 8)}),
        ([node("ConvTranspose", "x w", "y")], {"w": (64, 16, 3, 3), "x": (1, 64, 8, 8)}),
        ([node("MatMul", "x w", "y")], {"w": (64, 80), "x": (5, 64)}),
        ([node("Gemm", "x w", "y", transB=1)], {"w": (80, 64), "x": (5, 64)}),
        ([node("GRU", "x w r", "y", hidden_size=64, direction="bidirectional")],
         {"w": (2, 192, 64), "r": (2, 192, 64), "x": (5, 1, 64)}),
        ([node("LSTM", "x w r", "y", hidden_size=64)], {"w": (1, 256, 64), "r": (1, 256, 64), "x": (5, 1, 64)}),
    ],
)  # fmt: skip
def test_what_has_no_narrow_kernel_is_stored_narrow_and_computes_as_float(
    tmp_path: Path, made_of: list[onnx.NodeProto], shape: dict[str, tuple[int, ...]]
) -> None:
    weights = {n: normal(*s) / 8 for n, s in shape.items() if n != "x"}
    model = net(tmp_path / "in" / "m.onnx", made_of, weights, TensorProto.FLOAT)
    out = tmp_path / "out"
    out.mkdir()
    _, left, found = weight_only.quantise(str(model), {"bits": 8, "group": 32, "stored": True}, str(out))
    assert left == [] and "DequantizeLinear" in found
    assert sum(p.stat().st_size for p in out.iterdir()) < 0.4 * model.stat().st_size
    x = normal(*shape["x"])
    for entries in ({}, {"session__disable_quant_qdq": "1"}):
        assert apart(answer(out / "model.onnx", x, **entries), answer(model, x)) < 0.02
    # Folded at load: what is left to run is float's own graph.
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    ort.InferenceSession(str(out / "model.onnx"), options, providers=["CPUExecutionProvider"])
    assert kinds(tmp_path / "folded.onnx") == [made_of[0].op_type]


def test_weights_that_other_nodes_make_of_constants_are_weights(tmp_path: Path) -> None:
    """As torch exports an LSTM."""
    nodes = [
        node("Unsqueeze", "v axis", "w"),
        node("Unsqueeze", "u axis", "r"),
        node("LSTM", "x w r", "y", hidden_size=64),
    ]
    weights = {"v": normal(256, 64) / 8, "u": normal(256, 64) / 8, "axis": np.array([0])}
    model = net(tmp_path / "in" / "m.onnx", nodes, weights, TensorProto.FLOAT)
    out = tmp_path / "out"
    out.mkdir()
    _, left, _ = weight_only.quantise(str(model), {"bits": 8, "group": 32, "stored": True}, str(out))
    assert left == [] and sum(p.stat().st_size for p in out.iterdir()) < 0.4 * model.stat().st_size
    x = normal(5, 1, 64)
    assert apart(answer(out / "model.onnx", x), answer(model, x)) < 0.02


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("limit", [64, 127])
def test_the_errors_of_a_channel_add_up_to_nothing(axis: int, limit: int) -> None:
    for weights in (
        normal(8, 40, 3),
        np.abs(normal(8, 40, 3)),
        np.full((8, 40, 3), 0.3, np.float32),
        np.zeros((8, 40, 3)),
    ):
        rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
        scale = np.maximum(np.abs(rows).max(axis=1), 1e-6) / limit
        made = balance.balanced(weights, scale, axis, limit)
        whole = np.moveaxis(made, axis, 0).reshape(rows.shape).astype(np.float64)
        error = whole - rows / scale[:, None]
        assert np.abs(whole).max() <= limit and np.abs(error).max() < 1 + 1e-6
        assert np.abs(error.sum(axis=1)).max() <= 0.5 + 1e-3


def test_after_a_relu_stored_weights_shift_nothing(tmp_path: Path) -> None:
    """Rounded to the nearest they would: the outputs of all samples alike, by the sum of the errors."""
    weights = normal(400, 50)
    model = net(tmp_path / "in" / "m.onnx", [node("MatMul", "x w", "y")], {"w": weights}, TensorProto.FLOAT)
    out = tmp_path / "out"
    out.mkdir()
    weight_only.quantise(str(model), {"bits": 8, "group": 32, "stored": True}, str(out))
    x = np.abs(normal(200, 400)) + 1
    scale = np.abs(weights).max(axis=0) / 127
    nearest = x @ (np.rint(weights / scale) * scale)
    assert apart(answer(out / "model.onnx", x), x @ weights) < 0.7 * apart(nearest, x @ weights)
