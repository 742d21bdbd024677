"""Clean-up passes: what goes, what stays, and that nothing computes anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgelift_builder.optimise import clean_up
from tests.builder import files

pytestmark = pytest.mark.builder


def model(body: str, *, ins: str = "float[N, 2] x", outs: str = "float[N, 2] y") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> g ({ins}) => ({outs}) {{ {body} }}')


def kinds(made: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in made.graph.node]


def answers(made: onnx.ModelProto) -> list[np.ndarray]:
    onnx.checker.check_model(made)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.array([[1, -2], [3, 4]], np.float32)})


@pytest.mark.parametrize(
    ("name", "body", "left"),
    [
        ("drop-identity", "a = Identity(x) b = Relu(a) y = Identity(b)", ["Relu"]),
        ("drop-identity", "y = Identity(x)", ["Identity"]),  # an input and an output keep their names
        ("drop-identity", "a = Relu(x) y = Identity(a) z = Neg(a)", ["Relu", "Neg"]),
        ("drop-dropout", "a = Dropout(x) y = Relu(a)", ["Relu"]),
        ("drop-dropout", "a, m = Dropout(x) b = Cast<to = 1>(m) y = Mul(a, b)", ["Dropout", "Cast", "Mul"]),
        ("fold-constants", "c = Constant<value_float = 2.0>() d = Neg(c) y = Mul(x, d)", ["Mul"]),
        ("fold-constants", "c = Constant<value_ints = [1000, 1000]>() d = ConstantOfShape(c) e = ReduceSum(d) y = Add(x, e)",
         ["ConstantOfShape", "ReduceSum", "Add"]),
        ("drop-unused", "a = Relu(x) b = Neg(a) y = Abs(x)", ["Abs"]),
    ],
)  # fmt: skip
def test_a_pass_drops_what_it_says(name: str, body: str, left: list[str]) -> None:
    before = model(body)
    as_it_was = before.SerializeToString()
    made = clean_up.PASSES[name](before)
    assert kinds(made) == left
    assert before.SerializeToString() == as_it_was
    for found, wanted in zip(answers(made), answers(before), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_random_numbers_are_not_folded() -> None:
    made = clean_up.PASSES["fold-constants"](model("r = RandomNormal<shape = [1, 2]>() y = Add(x, r)"))
    assert "RandomNormal" in kinds(made)


def test_what_a_sub_graph_reads_is_kept() -> None:
    body = (
        "a = Identity(x) s = ReduceSum<keepdims = 0>(x) z = Constant<value_float = 0.0>() c = Greater(s, z)"
        " y = If(c) <then_branch = t () => (float[N, 2] o) { o = Neg(a) },"
        " else_branch = e () => (float[N, 2] p) { p = Relu(a) }>"
    )
    before = model(body)
    made = before
    for run in clean_up.PASSES.values():
        made = run(made)
    assert "Identity" in kinds(made)
    np.testing.assert_array_equal(answers(made)[0], answers(before)[0])


def test_metadata_goes() -> None:
    before = model("y = Relu(x)")
    before.graph.node[0].metadata_props.add(key="trace", value="/private/place.py")
    assert b"private" not in clean_up.PASSES["strip-metadata"](before).SerializeToString()


def test_the_step_keeps_weights_beside_the_graph(tmp_path: Path) -> None:
    path = files.onnx_file(tmp_path / "net.onnx")
    (tmp_path / "out").mkdir()
    found, changed = clean_up.clean(str(path), str(tmp_path / "out"))
    assert found == ["model.onnx", "weights.bin"] and not changed
    x = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    one, other = (
        ort.InferenceSession(p, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for p in (path, tmp_path / "out" / "model.onnx")
    )
    np.testing.assert_array_equal(one, other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "out", "weights.data"]
