"""What a source tells of its numbers stands in every manifest, held against the model; what can't be is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

from edgelift_builder import Meaning, Source
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.package import tensor_specs
from edgelift_builder.source import load
from edgelift_builder.source.meanings import metadata_of, told
from edgelift_builder.source.onnx_file import open_onnx
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import SessionOptions, TensorSpec
from edgelift_contract.meaning import MAX_LABELS, TensorMeaning
from tests.builder import tiny
from tests.simulators.models import graph_cnn

pytestmark = [pytest.mark.builder, pytest.mark.onnx]

SCORES = TensorSpec("output_0", "FP32", [-1, 3])
PIXELS = TensorSpec("x", "FP32", [-1, 3, 8, 8])
CLASSES = TensorSpec("classes", "INT64", [-1, 20])
ANY = TensorSpec("any", "FP32", [-1, -1])
NAMES = ["cat", "dog", "owl"]


def meaning(spec: TensorSpec, given: Any, axis: int | None = 0) -> TensorMeaning | None:
    return told([spec], given, {spec.name: axis}, "output")[0].meaning


def source(**changes: Any) -> Source:
    return Source("m", torch.nn.Identity(), (), (), **changes)


def test_it_stands_in_the_manifest_of_what_is_built(build_tiny: Any, float_recipe: Any) -> None:
    built = build_tiny("meant", float_recipe)
    assert built.manifests
    for manifest in built.manifests.values():
        (given,), (answered,) = manifest.inputs, manifest.outputs
        assert given.meaning == TensorMeaning(unit="intensity 0 to 255", scale=[64.0], offset=[128.0])
        assert answered.meaning == TensorMeaning(labels=list(tiny.KINDS), axis=1)
        assert manifest.metadata == {
            "camera": "north", "lens_mm": 3.6, "threshold": 0.25, "colour": False, "year": 2026,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "given", "found"),
    [
        (SCORES, Meaning(NAMES), TensorMeaning(labels=NAMES, axis=1)),
        (SCORES, Meaning(np.array(NAMES), axis=-1), TensorMeaning(labels=NAMES, axis=1)),
        (SCORES, {"output_0": Meaning(tuple(NAMES))}, TensorMeaning(labels=NAMES, axis=1)),
        (PIXELS, Meaning(scale=torch.tensor([58.0, 57.0, 57.5]), offset=(123, 116, 103)),
         TensorMeaning(scale=[58, 57, 57.5], offset=[123, 116, 103], axis=1)),
        (PIXELS, Meaning(scale=255), TensorMeaning(scale=[255])),
        (CLASSES, Meaning(NAMES, axis="values"), TensorMeaning(labels=NAMES)),
        (ANY, Meaning(NAMES, axis=1), TensorMeaning(labels=NAMES, axis=1)),
        (SCORES, None, None),
        (SCORES, {}, None),
    ],
)  # fmt: skip
def test_the_axis_is_told_by_how_many_there_are(spec: TensorSpec, given: Any, found: Any) -> None:
    assert meaning(spec, given) == found


@pytest.mark.parametrize(
    ("spec", "given", "words"),
    [
        (SCORES, Meaning(["cat", "dog"]), "names 2 places of the output output_0, whose shape [-1, 3] has no axis of that"),
        (SCORES, Meaning(["cat", "dog"], axis=1), "2 labels for 3 places along axis 1"),
        (TensorSpec("y", "FP32", [-1, 3, 3]), Meaning(NAMES), "has 2 axes of that length"),
        (SCORES, Meaning(NAMES, axis=2), "no axis 2"),
        (SCORES, Meaning(NAMES, axis="classes"), "no axis 'classes'"),
        (ANY, Meaning(NAMES), "has no axis of that length"),
        (SCORES, Meaning("cat"), "are str, not a list of names"),
        (SCORES, Meaning({0: "cat"}), "are dict, not a list of names"),  # type: ignore[dict-item]  # on purpose
        (SCORES, Meaning([1, 2, 3]), "labels"),  # type: ignore[list-item]  # on purpose
        (SCORES, Meaning(["cat", "do\ng", "owl"]), "labels"),
        (SCORES, Meaning(["cat", "\x1b[2J", "owl"]), "labels"),
        (SCORES, Meaning(["cat", "", "owl"]), "labels"),
        (SCORES, Meaning(["cat", "x" * 257, "owl"]), "labels"),
        (CLASSES, Meaning(["x"] * 1_000_000, axis="values"), "labels"),
        (SCORES, Meaning(unit="x" * 65), "unit"),
        (SCORES, Meaning(scale=0.0), "a scale of 0"),
        (SCORES, Meaning(scale=[1, 2]), "has no axis of that length"),
        (SCORES, Meaning(scale=[1, 2, 3], axis="values"), "no axis along which they count"),
        (SCORES, Meaning(offset=float("nan")), "neither a number nor a list"),
        (SCORES, Meaning(scale="much"), "neither a number nor a list"),
        (SCORES, {"output_1": Meaning(NAMES)}, "which the model does not have"),
        (SCORES, {"output_0": NAMES}, "no dict of edgelift_builder.Meaning"),
        (SCORES, NAMES, "no dict of edgelift_builder.Meaning"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(spec: TensorSpec, given: Any, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        meaning(spec, given)
    assert caught.value.code == "source-invalid" and words in str(caught.value)
    assert len(str(caught.value)) < 600


def test_it_stays_where_an_artifact_takes_one_sample_at_a_time() -> None:
    (spec,) = told([SCORES], Meaning(NAMES), {}, "output")
    takes = ModelSpec("litert", Path("model.tflite"), SessionOptions(), ("x",), ("output_0",), batch_free=False)
    assert tensor_specs([spec], takes) == [msgspec.structs.replace(spec, shape=[1, 3])]


def test_one_meaning_is_of_one_tensor() -> None:
    with pytest.raises(ContractError, match="tells of one output, and the model has 2: output_0, classes"):
        told([SCORES, CLASSES], Meaning(NAMES), {}, "output")


def test_the_names_of_imagenet_fit() -> None:
    for count in (1000, 21_841, MAX_LABELS):
        spec = TensorSpec("y", "FP32", [-1, count])
        made = meaning(spec, Meaning([f"n{n}" for n in range(count)]))
        assert made is not None and len(made.labels) == count


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": [1]}, "metadata"), ({"a": {"b": 1}}, "metadata"), ({"a": None}, "metadata"), ({"": 1}, "metadata"),
        ({"x" * 65: 1}, "metadata"), ({"a": "x" * 2001}, "metadata"), ({"a": 2**60}, "metadata"), (["a"], "metadata"),
        ({str(n): n for n in range(65)}, "metadata"), ({"a": float("nan")}, "metadata"), ({"a\n": 1}, "metadata"),
    ],
)  # fmt: skip
def test_a_table_beyond_its_bounds_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        metadata_of(source(metadata=given), [])
    assert caught.value.code == "source-invalid"


def test_what_an_onnx_file_says_of_itself_is_told(tmp_path: Path) -> None:
    graph = graph_cnn()[0]
    carried = {
        "author": "The barn <b>", "stride": "32", "names": "{0: 'cat'}", "pkg.torch": "x", "onnx.infer": "y",
        "log": "/home/me/x", "win": "C:\\me", "long": "x" * 2001, "a b": "no plain name", "site": "https://example.org/licence",
    }  # fmt: skip
    for key, value in carried.items():
        graph.metadata_props.add(key=key, value=value)
    path = tmp_path / "model.onnx"
    onnx.save(graph, path)
    model = open_onnx(path, tmp_path, [])
    remarks: list[str] = []
    found = metadata_of(Source("m", model, (), (), metadata={"stride": 16}), remarks)
    assert found == {
        "author": "The barn <b>",
        "stride": 16,
        "names": "{0: 'cat'}",
        "site": "https://example.org/licence",
    }
    assert len(remarks) == 1 and "log, win, long, a b" in remarks[0]


def test_data_beside_a_file_tells_it_too(tmp_path: Path) -> None:
    onnx.save(graph_cnn()[0], tmp_path / "model.onnx")
    (tmp_path / "judge.py").write_text(
        "import numpy as np\nfrom edgelift_builder import Data, Meaning\n"
        "def seen():\n"
        "    x = np.random.default_rng(0).random((60, 1, 24, 24), np.float32)\n"
        "    names = [f'digit {n}' for n in range(10)]\n"
        "    return Data(x, outputs=Meaning(names), inputs=Meaning(scale=1 / 255), metadata={'barn': 2})\n"
    )
    facts = load.load_source(str(tmp_path / "model.onnx"), "", f"{tmp_path / 'judge.py'}:seen", str(tmp_path))
    assert facts.outputs[0].meaning == TensorMeaning(labels=[f"digit {n}" for n in range(10)], axis=1)
    assert facts.inputs[0].meaning == TensorMeaning(scale=[1 / 255]) and facts.metadata == {"barn": 2}
