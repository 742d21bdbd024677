"""Models of text: carried, compared and judged to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgelift_agent.runtime.tensors import split_bytes
from edgelift_builder import data
from edgelift_builder.build import build
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.judge import telling
from edgelift_builder.judge.case import Case
from edgelift_builder.measure import emulated_guest, evaluate, golden
from edgelift_builder.measure.emulated_guest import Order
from edgelift_builder.measure.examine import examine, run_each
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source import load
from edgelift_contract import ContractError
from edgelift_contract.golden import parse_goldens
from edgelift_contract.manifest import SessionOptions
from tests.builder import files
from tests.builder.conftest import BuiltFolder

pytestmark = pytest.mark.builder


def test_a_text_model_is_built_in_float_and_its_goldens_are_text(tmp_path: Path, onnx_recipe: Path) -> None:
    words = files.texts(300)
    np.savez(tmp_path / "d.npz", words=words)
    request = Request(
        str(files.text_file(tmp_path / "weather.onnx")), ["x86-64"], recipe=str(onnx_recipe),
        data=str(tmp_path / "d.npz"), out=tmp_path / "r",
    )  # fmt: skip
    built = build(request, Quiet())
    found = {c.variant: c for c in built.report.candidates}
    assert found["float32"].shipped and found["float32"].value == 1.0 and built.report.metric == "agreement"
    assert not found["int8-static"].shipped and "words, label of the model is text" in found["int8-static"].reason
    folder = BuiltFolder(built.folder, {}, "")
    ((identifier, manifest),) = folder.manifests.items()
    assert [(s.name, s.dtype, s.shape) for s in (*manifest.inputs, *manifest.outputs)] == [
        ("words", "BYTES", [-1, 4]), ("label", "BYTES", [-1]), ("scores", "FP32", [-1, 3]),
    ]  # fmt: skip
    folder.unpack(identifier, tmp_path / "artifact")
    goldens = parse_goldens((tmp_path / "artifact" / manifest.goldens.path).read_bytes())
    assert len(goldens) == 16
    for one in goldens:
        (given,), answers = one.inputs, {t.name: t for t in one.outputs}
        assert given.dtype == answers["label"].dtype == "BYTES"
        assert [w.decode() for w in split_bytes(given.data)] in words.tolist()
        best = int(np.frombuffer(answers["scores"].data, "<f4").argmax())
        assert split_bytes(answers["label"].data) == [files.LABELS[best].encode()]


def test_the_program_of_the_emulated_machine_compares_text(tmp_path: Path) -> None:
    words = files.texts(60)
    data.save(tmp_path / EVALUATION, {"words": words})
    spec = ModelSpec(
        "onnxruntime",
        files.text_file(tmp_path / "weather.onnx"),
        SessionOptions(),
        ("words",),
        ("label", "scores"),
        True,
    )
    outputs = run_each(open_session(spec), {"words": words}, {})
    data.save(tmp_path / REFERENCE, outputs)
    found = examine(spec, str(tmp_path), str(tmp_path / "out"))
    order = Order(
        "onnxruntime", str(spec.path), spec.options, ["words"], ["label", "scores"], True, str(found.goldens),
        found.near.atol, found.near.argmax, str(tmp_path / EVALUATION), str(found.outputs), 48, {},
    )  # fmt: skip
    session, goldens = open_session(spec), parse_goldens(found.goldens.read_bytes())
    assert emulated_guest.try_goldens(session, goldens, order) == (0, 0.0)
    assert emulated_guest.try_samples(session, order) == (48, 48, 0.0)
    wrong = [
        msgspec.structs.replace(
            g, outputs=[msgspec.structs.replace(g.outputs[0], data=b"\1\0\0\0x"), g.outputs[1]]
        )
        for g in goldens
    ]
    assert emulated_guest.try_goldens(session, wrong, order) == (len(wrong), np.inf)


def test_labels_of_text_are_compared_to_the_letter() -> None:
    found = {"label": np.array(["naß", "trocken", "windig", "naß"])}
    column = {"label": found["label"].reshape(4, 1)}
    right = np.array(["naß", "trocken", "Windig", "nass"])
    for outputs in (found, column):
        (metric,) = telling.judging(Case({}, outputs, right), "").metrics
        assert metric.score(outputs).scores.tolist() == [1, 1, 0, 0]
    (metric,) = telling.judging(Case({}, {"label": np.array(["naß", "trocken", "windig", "x"])}), "").metrics
    assert metric.score(found).scores.tolist() == [1, 1, 1, 0]
    with pytest.raises(ContractError, match=r"labels int64\[4\] and outputs label text"):
        telling.judging(Case({}, found, np.arange(4)), "")


def test_another_text_is_infinitely_far() -> None:
    one, other = {"label": np.array(["a", "b"])}, {"label": np.array(["a", "c"])}
    assert evaluate.largest_difference(one, one) == 0.0 and evaluate.largest_difference(one, other) == np.inf
    for int8 in (False, True):
        near = golden.nearness(one, one, one, int8=int8)
        assert (near.atol, near.quantum, near.argmax) == (0.0, 0.0, False)


@pytest.mark.parametrize("values", [["é", "日本", ""], [b"\xc3\xa9", b"", b"x"], np.array(["a", b"b"], object)])
def test_text_is_stored_and_digested_without_being_pickled(tmp_path: Path, values: Any) -> None:
    text = data.plain(values)
    assert data.data_type(text) == "BYTES"
    data.save(tmp_path / "d.npz", {"t": text})
    assert data.load(tmp_path / "d.npz")["t"].tolist() == text.tolist()
    assert [s["t"].tolist()[0] for s in data.stream(tmp_path / "d.npz")] == text.tolist()
    assert data.digest({"t": text}) != data.digest({"t": text[::-1]})


@pytest.mark.parametrize("values", [[b"\xff"], ["\ud800"], np.array(["a\0"], object)])
def test_text_that_would_come_out_otherwise_is_refused(values: Any) -> None:
    with pytest.raises(ContractError) as caught:
        data.plain(values)
    assert caught.value.code == "source-invalid"


def test_text_needs_data(tmp_path: Path) -> None:
    path = files.text_file(tmp_path / "weather.onnx")
    with pytest.raises(ContractError, match=r"words of weather.onnx takes text.*--data"):
        load.load_source(str(path), "", "", str(tmp_path))


def test_a_model_of_nothing_but_maps_gives_what_they_were_made_of(tmp_path: Path) -> None:
    nodes = [helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("maps", kind)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "maps.onnx")
    facts = load.load_source(str(tmp_path / "maps.onnx"), "", "", str(tmp_path))
    assert [(o.name, o.shape) for o in facts.outputs] == [("maps", [-1, 2])]
    assert any("order of a, b" in remark for remark in facts.remarks)
