"""Every kind of ONNX file comes in, with data and without, and its artifact answers as the file does; or it is refused.

Right answers are onnxruntime's own, of the file as it lies there, one sample at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgelift_builder import calls
from edgelift_builder.convert import onnx_export
from edgelift_builder.source import load
from edgelift_builder.source.onnx_quantised import is_quantised
from edgelift_contract import ContractError
from tests.builder.onnx_kinds import KINDS
from tests.builder.onnx_parts import COUNT, X, dense, floats, model, node, port, weights
from tests.builder.onnx_refused import REFUSED
from tests.builder.onnx_written import sequences

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


def opened(path: Path) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def answers(
    path: Path, samples: dict[str, np.ndarray], axes: dict[str, int | None]
) -> list[dict[str, np.ndarray]]:
    """What onnxruntime alone says to each of some samples."""
    session = opened(path)
    names = [port.name for port in session.get_outputs()]
    made = []
    for index in (0, 1, COUNT - 1):
        call = {}
        for name, array in samples.items():
            axis, rank = axes[name], len(next(p for p in session.get_inputs() if p.name == name).shape)
            whole = array if array.ndim == rank else array[index]
            call[name] = whole if axis is None else np.take(array, [index], axis)
        made.append(dict(zip(names, session.run(None, call), strict=True)))
    return made


@pytest.mark.parametrize("name", KINDS)
def test_it_comes_in_and_answers_as_the_file_does(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]()
    onnx.save(kind.model, tmp_path / "given.onnx")
    np.savez(tmp_path / "data.npz", **kind.inputs)
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", str(tmp_path / "data.npz"), str(tmp_path / "sets"))
    assert {n: facts.axes[n] for n in kind.axes} == kind.axes and facts.batch_free == kind.batch_free
    assert not facts.guessed and facts.samples == COUNT and not facts.quantised
    (tmp_path / "made").mkdir()
    graph, *_ = onnx_export.export("", facts, str(tmp_path / "made"), onnx_export.OPSET)
    onnx.checker.check_model(str(tmp_path / "made" / graph), full_check=True)
    said = answers(tmp_path / "made" / graph, kind.inputs, kind.axes)
    for spec in facts.outputs:
        shape = said[0][spec.name].shape
        assert len(shape) == len(spec.shape)
        assert all(want in (-1, have) for want, have in zip(spec.shape, shape, strict=True)), spec
    if kind.runs:
        for one, other in zip(said, answers(tmp_path / "given.onnx", kind.inputs, kind.axes), strict=True):
            assert list(one) == list(other)
            for output, array in other.items():
                np.testing.assert_allclose(one[output], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_without_data_inputs_are_drawn_or_asked_for(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]()
    onnx.save(kind.model, tmp_path / "given.onnx")
    (tmp_path / "sets").mkdir()
    if kind.undrawn:
        with pytest.raises(ContractError, match="has a shape that is not fixed: float32\\[N, "):
            load.load_source(str(tmp_path / "given.onnx"), "", "", str(tmp_path / "sets"))
        return
    facts = load.load_source(str(tmp_path / "given.onnx"), "", "", str(tmp_path / "sets"))
    assert {n: facts.axes[n] for n in kind.axes} == kind.axes and facts.guessed
    assert facts.batch_free == kind.batch_free


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_in_words(name: str, tmp_path: Path) -> None:
    wanted = REFUSED[name]()
    onnx.save(wanted.model, tmp_path / "given.onnx")
    np.savez(tmp_path / "data.npz", **wanted.inputs)
    (tmp_path / "sets").mkdir()
    with pytest.raises(ContractError) as caught:
        data = str(tmp_path / "data.npz") if wanted.inputs else ""
        load.load_source(str(tmp_path / "given.onnx"), "", data, str(tmp_path / "sets"))
    assert caught.value.code == wanted.code and wanted.words in caught.value.message, caught.value.message
    assert "tidied" not in str(caught.value) and str(tmp_path / "sets") not in str(caught.value)


def test_what_onnxruntime_fused_is_taken_as_it_is(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "k"], ["c"]), node("Relu", ["c"], ["y"])]
    plain = model(nodes, [port("x", ["N", 3, 6, 6])], [port("y", ["N", 4, 4, 4])], {"k": weights(4, 3, 3, 3)})
    onnx.save(plain, tmp_path / "plain.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "given.onnx")
    ort.InferenceSession(str(tmp_path / "plain.onnx"), options, providers=["CPUExecutionProvider"])
    assert any(n.op_type == "FusedConv" for n in onnx.load(tmp_path / "given.onnx").graph.node)
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", "", str(tmp_path / "sets"))
    graph, *_ = onnx_export.export("", facts, str(tmp_path), onnx_export.OPSET)
    x = {"x": floats(COUNT, 3, 6, 6)}
    for one, other in zip(
        answers(tmp_path / graph, x, {"x": 0}), answers(tmp_path / "plain.onnx", x, {"x": 0}), strict=True
    ):
        np.testing.assert_allclose(one["y"], other["y"], rtol=1e-5, atol=1e-6)
    # Domains that nothing is of would ask for a runtime that knows them.
    assert {o.domain for o in onnx.load(tmp_path / graph).opset_import} == {"", "com.microsoft"}


def test_a_graph_that_only_takes_and_answers_integers_is_float() -> None:
    nodes, constants = dense("real", "answer")
    scales = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    inside = [
        node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        *nodes,
        node("QuantizeLinear", ["answer", "s", "z"], ["y"]),
    ]
    ports = [port("x", ["N", 8], onnx.TensorProto.INT8)], [port("y", ["N", 3], onnx.TensorProto.INT8)]
    assert not is_quantised(model(inside, *ports, constants | scales))
    held = {"q": np.ones((8, 3), np.int8)} | scales
    weight = [node("DequantizeLinear", ["q", "s", "z"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
    assert is_quantised(model(weight, [port("x", ["N", 8])], [port("y", ["N", 3])], held))


def test_a_sequence_and_pieces_become_outputs(tmp_path: Path) -> None:
    onnx.save(sequences(), tmp_path / "given.onnx")
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", "", str(tmp_path / "sets"))
    assert [(s.name, s.shape) for s in facts.outputs] == [
        ("both_0", [-1, 3]),
        ("both_1", [-1, 16]),
        ("pieces", [-1, 3]),
    ]
    assert any("its tensors are the outputs both_0, both_1" in said for said in facts.remarks)
    (tmp_path / "made").mkdir()
    graph, *_ = onnx_export.export("", facts, str(tmp_path / "made"), onnx_export.OPSET)
    x = X["x"][:1]
    made = opened(tmp_path / "made" / graph).run(None, {"x": x})
    both, pieces = opened(tmp_path / "given.onnx").run(None, {"x": x})
    for one, other in zip(made, [*both, np.concatenate(pieces, axis=1)], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_weights_in_a_folder_below_stay_readable_when_the_graph_is_tidied(tmp_path: Path) -> None:
    made = KINDS["nodes_out_of_order"]()
    (tmp_path / "parts").mkdir()
    onnx.save(
        made.model, tmp_path / "given.onnx", save_as_external_data=True, location="parts/w.bin", size_threshold=0
    )
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", "", str(tmp_path / "sets"))
    (tmp_path / "made").mkdir()
    graph, *_ = onnx_export.export("", facts, str(tmp_path / "made"), onnx_export.OPSET)
    whole = KINDS["opset_15"]()
    call = calls.one(whole.inputs, 0, whole.axes)
    one, other = (opened(path).run(None, call)[0] for path in (tmp_path / "made" / graph, tmp_path / "given.onnx"))
    np.testing.assert_allclose(one, other, rtol=1e-5)
