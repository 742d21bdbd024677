"""float16 artifacts: what a GPU's arithmetic, which rounds every intermediate, must still pass.

onnx's reference evaluator stands in for the GPU: numpy computes in the graph's own types, so each operator's result is
rounded to float16. onnxruntime on a processor computes the same graph in float32.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgelift_agent.artifact.goldens import check_goldens
from edgelift_builder import data, gates
from edgelift_builder.build import build
from edgelift_builder.candidate import Shipped
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.measure import golden
from edgelift_builder.measure.examine import examine, run_each
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_builder.optimise import fp16, prepare, weight_only
from edgelift_builder.recipe import Variant
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.targets import load_target
from edgelift_contract import ContractError
from edgelift_contract.golden import parse_goldens
from edgelift_contract.manifest import SessionOptions, Tolerance
from tests.builder.conftest import BuiltFolder
from tests.builder.test_gates import candidate

pytestmark = [pytest.mark.builder, pytest.mark.onnx]

WIDTH, LAYERS, CLASSES = 64, 6, 10


def perceptron() -> onnx.ModelProto:
    """Six layers of 64, `x: float32[N, 64]` → `y: float32[N, 10]`."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for n in range(LAYERS):
        out = WIDTH if n < LAYERS - 1 else CLASSES
        matrix = rng.normal(0, np.sqrt(2 / WIDTH), (WIDTH, out)).astype(np.float32)
        weights += [numpy_helper.from_array(matrix, f"w{n}")]
        nodes.append(helper.make_node("MatMul", [last, f"w{n}"], [f"m{n}"]))
        last = f"m{n}"
        if n < LAYERS - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{n}"]))
            last = f"r{n}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])
    y = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def narrow(path: Path) -> None:
    """The same in float16, from input to output."""
    onnx.save(convert_float_to_float16(perceptron()), path)


class Rounding:
    """A `ports.LoadedModel` in float16 throughout, as on a GPU."""

    accelerators = ("CUDAExecutionProvider",)

    def __init__(self, path: Path) -> None:
        self._model = ReferenceEvaluator(str(path))
        self._outputs = self._model.output_names

    def run(self, inputs: Any, outputs: Any = None) -> dict[str, Any]:
        return dict(zip(self._outputs, self._model.run(None, dict(inputs)), strict=True))

    def close(self) -> None:
        pass


def test_a_float16_artifact_passes_its_goldens_where_every_intermediate_is_rounded(tmp_path: Path) -> None:
    """On a server's GPU all three examples' float16 artifacts were refused, 7 to 18 tolerances off."""
    whole = tmp_path / "whole.onnx"
    onnx.save(perceptron(), whole)
    x = np.random.default_rng(1).normal(size=(200, WIDTH)).astype(np.float32)
    output = perceptron().graph.output[0].name
    spec = ModelSpec("onnxruntime", whole, SessionOptions(), ("x",), (output,), batch_free=True)
    data.save(tmp_path / EVALUATION, {"x": x})
    data.save(tmp_path / REFERENCE, run_each(open_session(spec), {"x": x}, {}))
    (tmp_path / "half").mkdir()
    files = fp16.convert(str(whole), str(tmp_path / "half"))
    half = tmp_path / "half" / files[0]
    onnx.checker.check_model(
        str(half), full_check=True
    )  # its nodes are in order, which onnxruntime doesn't ask for

    def judged(spec: ModelSpec, out: str) -> float:
        found = examine(spec, str(tmp_path), str(tmp_path / out))
        goldens = parse_goldens(found.goldens.read_bytes())
        return check_goldens(Rounding(half), goldens, Tolerance("k", found.near.atol), key="k") / found.near.atol

    spec = replace(spec, path=half)
    with pytest.raises(ContractError, match="is off by"):
        judged(spec, "as-float")
    assert judged(replace(spec, half=True), "as-half") < 0.7


def test_the_tolerance_of_float16_is_that_of_its_rounding() -> None:
    rng = np.random.default_rng(0)
    wide = {"y": rng.uniform(-4, 4, size=(50, 10)).astype(np.float32)}
    near = golden.nearness(wide, wide, wide, int8=False, halved=wide)
    assert near.atol == pytest.approx(2e-3 * 8, rel=0.02)
    moved = {"y": wide["y"] + np.float32(0.05)}
    assert golden.nearness(wide, wide, wide, int8=False, halved=moved).atol == pytest.approx(0.1, rel=0.02)
    overflowed = {"y": np.where(np.arange(10) == 3, np.float32(np.inf), wide["y"])}
    assert golden.nearness(wide, wide, wide, int8=False, halved=overflowed).atol == near.atol
    assert golden.nearness(wide, wide, wide, int8=False).atol == pytest.approx(1e-5 * 8, rel=0.02)


STEPS = {
    "int8-static": "static-int8",
    "int8-dynamic": "dynamic-int8-onnx",
    "weights": "weight-only",
    "fp16": "fp16",
}


@pytest.mark.parametrize("wide_ends", [True, False])
def test_what_comes_in_float16_is_called_so_and_quantised_from_float32(
    wide_ends: bool, tmp_path: Path, float_recipe: Path
) -> None:
    """Right answers are those of the float32 net that it was rounded from."""
    x = np.random.default_rng(1).normal(size=(300, WIDTH)).astype(np.float32)
    kind = np.float32 if wide_ends else np.float16
    onnx.save(convert_float_to_float16(perceptron(), keep_io_types=wide_ends), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=x.astype(kind))
    more = [
        f'[[variant]]\nname = "{n}"\nformat = "onnx"\nsteps = ["export-onnx", "{s}"]\n' for n, s in STEPS.items()
    ]
    float_recipe.write_text(float_recipe.read_text() + "".join(more))
    request = Request(
        str(tmp_path / "net.onnx"), ["x86-64"], data=str(tmp_path / "data.npz"), recipe=str(float_recipe),
        out=tmp_path / "out", accept=True,
    )  # fmt: skip
    build(request, Quiet())
    built = BuiltFolder(tmp_path / "out", json.loads((tmp_path / "out" / "report.json").read_bytes()), "")
    reasons = {c["variant"]: c["reason"] for c in built.report["candidates"]}
    assert reasons.keys() == {"float16", *STEPS}
    assert "came in float16" in reasons["fp16"], reasons
    assert {m.variant for m in built.manifests.values()} == {"float16", *STEPS} - {"fp16"}, reasons
    wanted = ort.InferenceSession(perceptron().SerializeToString()).run(None, {"x": x})[0]
    for artifact, manifest in built.manifests.items():
        built.unpack(artifact, tmp_path / artifact)
        found = ort.InferenceSession(str(tmp_path / artifact / "model.onnx")).run(None, {"x": x.astype(kind)})[0]
        assert found.dtype == kind
        off = np.linalg.norm(found.astype(np.float32) - wanted) / np.linalg.norm(wanted)
        assert off < (0.005 if manifest.variant == "float16" else 0.1), (manifest.variant, off)


def test_a_float16_model_stands_where_float_does_until_it_is_measured() -> None:
    """float16 comes first on a Jetson; x86 computes it in float32, first where int8 has to be measured faster."""
    for target, first in (("x86-64", "float16"), ("x86-64-vnni", "int8"), ("jetson-orin-nano", "float16")):
        both = []
        for name, precision in (("float16", "float16"), ("int8", "int8")):
            made = candidate(name, 500, None, target=load_target(target))
            piece, variant = replace(made.piece, precision=precision), Variant(name, "onnx", made.variant.steps)
            both.append(Shipped(replace(made, piece=piece, variant=variant), "", ""))
        assert [gates.rank(order)[0].candidate.variant.name for order in (both, both[::-1])] == [first, first]


@pytest.mark.parametrize("outside", [True, False])
def test_what_is_too_large_only_in_float32_is_narrowed_tensor_by_tensor(
    outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = convert_float_to_float16(perceptron())
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "net.onnx"
    onnx.save(half, path, save_as_external_data=outside, location="net.bin", size_threshold=0)
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    monkeypatch.setattr(prepare, "LIMIT_BYTES", int(1.5 * size))
    (tmp_path / "out").mkdir()
    files, *_ = weight_only.quantise(str(path), {"bits": 8, "group": 32}, str(tmp_path / "out"))
    assert {file.name for file in (tmp_path / "out").iterdir()} == set(files)
    x = np.random.default_rng(1).normal(size=(300, WIDTH)).astype(np.float16)
    wanted, found = (
        ort.InferenceSession(made).run(None, {"x": given})[0].astype(np.float32)
        for made, given in (
            (perceptron().SerializeToString(), x.astype(np.float32)),
            (str(tmp_path / "out" / files[0]), x),
        )
    )
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.03
    with pytest.raises(ContractError, match="over 2 GB once it is float32, which this step would need") as caught:
        prepare.prepare(path, tmp_path / "out")
    assert "step weight-only" in caught.value.hint


def test_what_comes_in_float64_is_called_so_and_quantised_from_float32(tmp_path: Path, float_recipe: Path) -> None:
    net = perceptron()
    for tensor in net.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    for port in (*net.graph.input, *net.graph.output):
        port.type.tensor_type.elem_type = TensorProto.DOUBLE
    onnx.save(net, tmp_path / "net.onnx")
    x = np.random.default_rng(1).normal(size=(300, WIDTH))
    np.savez(tmp_path / "data.npz", x=x)
    more = [
        f'[[variant]]\nname = "{n}"\nformat = "onnx"\nsteps = ["export-onnx", "{s}"]\n' for n, s in STEPS.items()
    ]
    float_recipe.write_text(float_recipe.read_text() + "".join(more))
    request = Request(
        str(tmp_path / "net.onnx"), ["x86-64"], data=str(tmp_path / "data.npz"), recipe=str(float_recipe),
        out=tmp_path / "out", accept=True,
    )  # fmt: skip
    build(request, Quiet())
    built = BuiltFolder(tmp_path / "out", json.loads((tmp_path / "out" / "report.json").read_bytes()), "")
    reasons = {c["variant"]: c["reason"] for c in built.report["candidates"]}
    assert {m.variant for m in built.manifests.values()} == {"float64", *STEPS}, reasons
    wanted = ort.InferenceSession(net.SerializeToString()).run(None, {"x": x})[0]
    for artifact, manifest in built.manifests.items():
        built.unpack(artifact, tmp_path / artifact)
        found = ort.InferenceSession(str(tmp_path / artifact / "model.onnx")).run(None, {"x": x})[0]
        assert found.dtype == np.float64
        off = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert off < (1e-6 if manifest.variant == "float64" else 0.1), (manifest.variant, off)
