"""What onnxruntime has fused is taken apart before it is quantised, and computes what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from edgelift_builder.optimise import opset, prepare
from edgelift_builder.optimise.onnx_types import typed
from edgelift_builder.optimise.unfuse import DOMAIN, unfused
from edgelift_builder.source.onnx_norms import without_foreign_norms
from tests.builder.onnx_parts import floats, model, node, port, weights

pytestmark = [pytest.mark.builder, pytest.mark.onnx]

ROW, SQUARE, PICTURE = [2, 8], [2, 8, 8], [2, 3, 6, 6]
W, B, G = weights(8, 8), weights(8), floats(8)
CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}


def fused(operator: str, inputs: list[str], outputs: list[str] | None = None, **options: Any) -> Any:
    return node(operator, inputs, outputs or ["y"], domain=DOMAIN, **options)


CASES = {
    "conv relu": (fused("FusedConv", ["x", "w", "b"], activation="Relu", pads=[1] * 4), PICTURE, CONV),
    "conv leaky": (
        fused("FusedConv", ["x", "w"], activation="LeakyRelu", activation_params=[0.2]), PICTURE, {"w": CONV["w"]},
    ),
    "conv clip": (
        fused("FusedConv", ["x", "w", "b"], activation="Clip", activation_params=[0.0, 0.5]), PICTURE, CONV,
    ),
    "gemm": (fused("FusedGemm", ["x", "w", "b"], activation="Relu", transB=1), ROW, {"w": W, "b": B}),
    "matmul": (fused("FusedMatMul", ["x", "w"], transB=1, alpha=0.3), SQUARE, {"w": W}),
    "matmul both": (fused("FusedMatMul", ["x", "x"], transA=1), SQUARE, {}),
    "gelu": (fused("Gelu", ["x"]), ROW, {}),
    "bias gelu": (fused("BiasGelu", ["x", "b"]), ROW, {"b": B}),
    "fast gelu": (fused("FastGelu", ["x", "b"]), ROW, {"b": B}),
    "quick gelu": (fused("QuickGelu", ["x"], alpha=1.5), ROW, {}),
    "skip norm": (
        fused("SkipLayerNormalization", ["x", "x", "g", "b", "b"], ["y", "", "", "sum"], epsilon=1e-3), SQUARE,
        {"g": G, "b": B},
    ),
}  # fmt: skip


def answers(made: Any, x: Any) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("case", CASES)
def test_apart_it_computes_what_it_did_fused(case: str) -> None:
    operator, shape, constants = CASES[case]
    outputs = [onnx.ValueInfoProto(name=name) for name in operator.output if name]
    whole = model([operator], [port("x", shape)], outputs, constants, domains=[(DOMAIN, 1)])
    apart = unfused(whole)
    assert apart.graph.node and all(n.domain == "" for n in apart.graph.node)
    x = floats(*shape)
    for one, other in zip(answers(apart, x), answers(whole, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("operator", "level"), [("LayerNormalization", 13), ("SimplifiedLayerNormalization", 18)])
def test_a_norm_that_no_standard_has_is_made_of_what_it_has(operator: str, level: int) -> None:
    inputs = ["x", "g", "b"] if operator == "LayerNormalization" else ["x", "g"]
    whole = model(
        [node(operator, inputs, ["y"], epsilon=1e-4)], [port("x", SQUARE)], [port("y", SQUARE)], {"g": G, "b": B},
        opset=level,
    )  # fmt: skip
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(whole)
    x = floats(*SQUARE)
    expected = answers(whole, x)
    assert without_foreign_norms(whole)
    onnx.checker.check_model(whole, full_check=True)
    np.testing.assert_allclose(answers(whole, x)[0], expected[0], rtol=1e-4, atol=1e-5)


def test_what_stays_fused_has_its_types() -> None:
    attention = fused("Attention", ["x", "qkv", "bias"], ["a"], num_heads=2)
    constants = {"qkv": weights(8, 24), "bias": weights(24), "w": W}
    nodes = [attention, node("MatMul", ["a", "w"], ["m"]), node("Relu", ["m"], ["y"])]
    made = typed(
        model(nodes, [port("x", ["n", 4, 8])], [port("y", ["n", 4, 8])], constants, domains=[(DOMAIN, 1)])
    )
    known = {v.name: v.type.tensor_type for v in made.graph.value_info}
    assert {n: kind.elem_type for n, kind in known.items()} == {"a": TensorProto.FLOAT, "m": TensorProto.FLOAT}
    assert len(known["m"].shape.dim) == 3


def test_a_file_of_an_old_opset_is_raised_and_taken_apart(tmp_path: Path) -> None:
    skip = fused("SkipLayerNormalization", ["x", "x", "g", "b"], ["n"])
    nodes = [skip, node("MatMul", ["n", "w"], ["m"]), node("Softmax", ["m"], ["y"], axis=2)]
    whole = model(
        nodes, [port("x", SQUARE)], [port("y", SQUARE)], {"g": G, "b": B, "w": W}, opset=11, ir=6,
        domains=[(DOMAIN, 1)],
    )  # fmt: skip
    (tmp_path / "in").mkdir()
    onnx.save(whole, tmp_path / "in" / "m.onnx")
    ready = onnx.load(prepare.prepare(tmp_path / "in" / "m.onnx", tmp_path))
    assert opset.version(ready) == opset.RAISED and all(n.domain == "" for n in ready.graph.node)
    x = floats(*SQUARE)
    np.testing.assert_allclose(answers(ready, x)[0], answers(whole, x)[0], rtol=1e-4, atol=1e-5)
