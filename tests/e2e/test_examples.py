"""Every example of a task: built, served by one real agent in all that ships, and asked with Triton's client.

What is answered is scored by hand on samples that neither training nor the builder saw, and held against what the release
claims. The agent gets every artifact for this class of machine in a slot of its own, not the first one alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, mean_absolute_error, roc_auc_score
from tests.builder.conftest import ROOT, BuiltFolder
from tests.builder.recipes import ONNX, TFLITE
from tests.builder.several import build_each
from tests.simulators.device import PATIENT, Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost
from edgelift_builder.request import Request
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.manifest import Manifest

pytestmark = [pytest.mark.builder, pytest.mark.onnx]
http = pytest.importorskip("tritonclient.http", reason="only in the developer's environment")

EXAMPLES = ROOT / "builder" / "examples"
FRESH = 20261126  # a seed of no example
Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]


class Example(NamedTuple):
    """A source; what it is told to be for; fresh samples of it by input name, and what they score; how near the claim."""

    source: str
    task: str
    fresh: Callable[[], tuple[dict[str, Array], Callable[[Outputs], float]]]
    near: float


def _module(name: str) -> Any:
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)


def _detector() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    drawn = _module("drawn").draw(80, FRESH)

    def score(outputs: Outputs) -> float:
        right = said = 0
        for boxes, scores, wanted, kinds in zip(
            outputs["output_0"], outputs["output_1"], drawn.boxes, drawn.kinds, strict=True
        ):
            found = _best(boxes, scores)
            said += len(found)
            right += sum(
                any(k == kind and _overlap(b, box) > 0.5 for b, k in found)
                for box, kind in zip(wanted, kinds, strict=True)
            )
        return 2 * right / (said + sum(map(len, drawn.kinds)))

    return {"x": drawn.images}, score


def _best(boxes: Array, scores: Array) -> list[tuple[Array, int]]:
    """Detections, the surest first, none over one of its kind."""
    kept: list[tuple[Array, int]] = []
    for i in np.argsort(-scores.max(-1)):
        kind = int(scores[i].argmax())
        if scores[i, kind] > 0.25 and all(k != kind or _overlap(b, boxes[i]) < 0.45 for b, k in kept):
            kept.append((boxes[i], kind))
    return kept


def _overlap(one: Array, other: Array) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = float(sides.clip(0).prod())
    return both / (float((one[2:] - one[:2]).prod()) + float((other[2:] - other[:2]).prod()) - both)


def _segmenter() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    drawn = _module("drawn").draw(60, FRESH)
    right = drawn.pixels.ravel()
    return {"x": drawn.images}, lambda out: float(
        jaccard_score(right, out["output_0"].argmax(1).ravel(), average="macro")
    )


def _tagger() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    drawn = _module("drawn").draw(80, FRESH)
    return {"x": drawn.images}, lambda out: float(f1_score(drawn.present, out["output_0"] > 0.5, average="micro"))


def _sensor() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    series, turns = _module("sensor").record(200, FRESH)
    return {"x": series}, lambda out: float(mean_absolute_error(turns, out["output_0"]))


def _pump() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    spectra, odd = _module("pump").listen(200, FRESH, odd_share=0.3)
    return {"input": spectra}, lambda out: float(
        roc_auc_score(odd, ((out["output_0"] - spectra) ** 2).mean(axis=1))
    )


def _keywords() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    keywords = _module("keywords")
    sounds, words = keywords.synthesise(100, FRESH)
    return {"x": keywords.spectrogram(sounds)}, lambda out: float(
        accuracy_score(words, out["output_0"].argmax(-1))
    )


def _door() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    series, yes = _module("door").sense(200, FRESH)
    return {"input": series}, lambda out: float(accuracy_score(yes, out["output_0"][:, 0] > 0.5))


def _sentences() -> tuple[dict[str, Array], Callable[[Outputs], float]]:
    """The cosine to what float32, which is asked first, says; and most have their partner for the nearest of 50."""
    ones, others = _module("sentences").write(50, FRESH)
    both, first = np.concatenate([ones, others]), []

    def score(outputs: Outputs) -> float:
        vectors = outputs["output_0"]
        first.append(vectors)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
        assert ((vectors[:50] @ vectors[50:].T).argmax(1) == np.arange(50)).mean() > 0.5
        return float((vectors * first[0]).sum(1).mean())

    return {"input_ids": both, "attention_mask": (both != 0).astype(np.int64)}, score


TASKS = {
    "detector": Example("detector.py:shapes", "detection", _detector, 0.05),
    "segmenter": Example("segmenter.py:shapes", "segmentation", _segmenter, 0.05),
    "tagger": Example("tagger.py:shapes", "multilabel", _tagger, 0.05),
    "sensor": Example("sensor.py:speed", "regression", _sensor, 0.3),  # of an error: turns per second
    "pump": Example("pump.py:sound", "anomaly", _pump, 0.03),
    "keywords": Example("keywords.py:tones", "classification", _keywords, 0.06),
    "door": Example("door.py:motion", "binary", _door, 0.05),
    "sentences": Example("sentences.py:meaning", "embedding", _sentences, 0.01),
}

#: Who is served as TFLite, too: one in the quick suite; a detector, a recurrent model and one of tokens in the slow one.
QUICK, SLOW = "door", ("detector", "sensor", "sentences")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuiltFolder]:
    """All of them as ONNX, one as TFLite, too."""
    return build_all(tmp_path_factory.mktemp("examples"), dict.fromkeys(TASKS, ONNX) | {QUICK: ONNX + TFLITE})


def build_all(folder: Path, recipes: Mapping[str, str]) -> dict[str, BuiltFolder]:
    """Two at a time, each by a recipe; TFLite accepted as it is, because int8 is no faster there on an x86 without VNNI."""

    requests = []
    for name, text in recipes.items():
        recipe = folder / f"{name}.toml"
        recipe.write_text(f'name = "{name}"\n{text}')
        source, out = str(EXAMPLES / TASKS[name].source), folder / name
        accept = TFLITE in text
        requests.append(Request(source, ["x86-64", "rpi4"], recipe=str(recipe), out=out, accept=accept))
    build_each(requests, converting=any(TFLITE in text for text in recipes.values()))
    return {name: BuiltFolder(folder / name, {}, "") for name in recipes}


class Served(NamedTuple):
    """An artifact in its slot."""

    slot: str
    example: Example
    manifest: Manifest


@pytest.fixture(scope="module")
def served(
    releases: dict[str, BuiltFolder], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Device, list[Served]]]:
    """One agent that serves everything that ships for x86-64."""
    with serving(releases, tmp_path_factory.mktemp("device")) as started:
        yield started


@contextmanager
def serving(releases: Mapping[str, BuiltFolder], folder: Path) -> Iterator[tuple[Device, list[Served]]]:
    """An agent with every artifact for this class of machine in a slot of its own."""
    host, slots, what = ToyHost(), {}, []
    for name, built in releases.items():
        host.blobs.update({path.name: path.read_bytes() for path in (built.folder / "blobs").iterdir()})
        for artifact, manifest in built.manifests.items():
            if not manifest.hardware_class.startswith("x86"):
                continue
            slot = f"{name}-{manifest.variant}-{manifest.format}"
            body = (built.folder / "manifests" / artifact).read_bytes()
            host.blobs[artifact] = body
            policy = Policy(probation_s=0, max_latency_ratio=0)
            slots[slot] = SlotAssignment(artifact, len(body), manifest.model, manifest.version, policy)
            what.append(Served(slot, TASKS[name], manifest))
    device = Device(folder, host.url, host.token, serve=PATIENT)
    revision = host.assign(device.name, **slots)
    device.start("--real-runtimes")
    try:
        host.wait_for(device.name, lambda report: report.revision_applied == revision)
        yield device, what
    finally:
        device.stop()
        host.close()


def ask(device: Device, slot: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """One sample at a time, as a device is asked."""
    client = http.InferenceServerClient(f"localhost:{device.port}", network_timeout=LONG_S)
    types = {tensor["name"]: tensor["datatype"] for tensor in client.get_model_metadata(slot)["inputs"]}
    answers = []
    for i in range(len(next(iter(inputs.values())))):
        tensors = []
        for name, array in inputs.items():
            one = array[i : i + 1]
            one = one.astype(np.int32) if types[name] == "INT32" else one  # LiteRT takes no others
            tensors.append(http.InferInput(name, list(one.shape), types[name]))
            tensors[-1].set_data_from_numpy(one)
        answers.append(client.infer(slot, tensors))
    client.close()
    names = [output["name"] for output in answers[0].get_response()["outputs"]]
    return {name: np.concatenate([answer.as_numpy(name) for answer in answers]) for name in names}


@pytest.mark.parametrize("name", TASKS)
def test_an_example_is_served_as_good_as_its_release_claims(
    name: str, served: tuple[Device, list[Served]]
) -> None:
    asked = as_claimed(name, *served)
    assert ("float32", "onnx") in asked
    if name == QUICK:
        assert {("float32", "tflite"), ("int8", "tflite")} <= asked


@pytest.mark.slow
def test_examples_of_other_kinds_are_served_as_tflite_too(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    releases = build_all(tmp_path / "releases", dict.fromkeys(SLOW, TFLITE))
    with serving(releases, tmp_path / "device") as (device, everything):
        for name in SLOW:
            assert as_claimed(name, device, everything) == {("float32", "tflite"), ("int8", "tflite")}, name


def as_claimed(name: str, device: Device, everything: list[Served]) -> set[tuple[str, str]]:
    """Ask what is served of an example, and hold it against its evidence; variants and formats that were."""
    mine = sorted((one for one in everything if one.example is TASKS[name]), key=lambda one: one.manifest.variant)
    assert {one.manifest.task for one in mine} == {TASKS[name].task}
    assert mine[0].manifest.variant == "float32"
    inputs, score = TASKS[name].fresh()
    for slot, example, manifest in mine:
        found, claimed = score(ask(device, slot, inputs)), manifest.evidence[0].value
        assert found == pytest.approx(claimed, abs=example.near), (slot, manifest.evidence[0])
    return {(one.manifest.variant, one.manifest.format) for one in mine}


@pytest.mark.parametrize("name", TASKS)
def test_an_example_ships_in_int8_for_a_board(name: str, releases: dict[str, BuiltFolder]) -> None:
    """For arm64: on an x86 without VNNI int8 is left out where it is slower."""
    shipped = [m for m in releases[name].manifests.values() if m.hardware_class.startswith("arm64")]
    assert "int8" in {manifest.variant for manifest in shipped}
    assert all(manifest.evidence[0].verdict in ("holds", "") for manifest in shipped)
