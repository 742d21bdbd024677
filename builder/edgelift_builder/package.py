"""Packages candidates: their manifests and blobs, into a folder that is not yet in its place.

Same inputs, same bytes: a manifest holds nothing that was measured with a stop-watch (docs/adr/0003).
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from edgelift_builder.candidate import Made, Packaged, Shipped
from edgelift_builder.convert import onnx_versions, tflite, torchscript
from edgelift_builder.facts import SourceFacts
from edgelift_builder.judge.judgement import Judgement
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.measure.runtimes import version as runtime_version
from edgelift_builder.recipe import Recipe
from edgelift_contract import __version__
from edgelift_contract.golden import tolerance_key
from edgelift_contract.hardware import HardwareClass, these_kernels
from edgelift_contract.manifest import (
    Budgets,
    Evidence,
    FileEntry,
    FileRole,
    Format,
    Goldens,
    Manifest,
    Provenance,
    SourceSignature,
    TensorSpec,
    Tolerance,
    dump_manifest,
    parse_manifest,
)
from edgelift_contract.release import BLOBS, MANIFESTS

GOLDENS = "goldens.msgpack"

_RANGES: dict[Format, str] = {
    "tflite": tflite.RUNTIME_RANGE,
    "torchscript": torchscript.RUNTIME_RANGE,
}

#: Packages whose versions can change an artifact, by format.
_TOOLS: dict[Format, tuple[str, ...]] = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "tflite": ("torch", "litert-torch", "ai-edge-quantizer", "ai-edge-litert"),
    "torchscript": ("torch",),
}


@dataclass(frozen=True)
class Identity:
    """What is being released: `model@version`, its counter, and from what."""

    model: str
    version: str
    counter: int
    facts: SourceFacts
    recipe: Recipe
    host: HardwareClass
    signature: SourceSignature | None = None


def write_artifact(shipped: Shipped, about: Identity, folder: Path) -> Packaged:
    """Add one candidate's blobs and manifest to the release in `folder`."""
    piece, examination = shipped.candidate.piece, shipped.candidate.examination
    files = [_blob(piece.folder / path, path, role, folder) for path, role in piece.files]
    files.append(_blob(examination.goldens, GOLDENS, "goldens", folder))
    artifact, text = dump_manifest(_manifest(shipped, about, files))
    parse_manifest(text)  # the device will parse it too: a mistake should be found here
    (folder / MANIFESTS).mkdir(exist_ok=True)
    (folder / MANIFESTS / artifact).write_bytes(text)
    return Packaged(shipped.candidate, shipped.code, shipped.reason, artifact)


def _manifest(shipped: Shipped, about: Identity, files: list[FileEntry]) -> Manifest:
    candidate = shipped.candidate
    runtime, options, near = candidate.runtime, candidate.spec.options, candidate.examination.near
    key = tolerance_key(these_kernels(), runtime, runtime_version(runtime), options)
    return Manifest(
        schema=Manifest.SCHEMA,
        model=about.model,
        version=about.version,
        release_counter=about.counter,
        variant=candidate.variant.name,
        hardware_class=candidate.target.hardware_class,
        format=candidate.variant.format,
        runtime=runtime,
        runtime_range=runtime_range(candidate),
        files=files,
        inputs=tensor_specs(about.facts.inputs, candidate.spec),
        outputs=tensor_specs(about.facts.outputs, candidate.spec),
        options=options,
        goldens=Goldens(GOLDENS, candidate.examination.golden_count, Tolerance(key, near.atol, near.argmax)),
        task=about.facts.told,
        judged=about.facts.judged,
        unmeasured=candidate.known_latency is None,
        metadata=about.facts.metadata,
        budgets=_budgets(candidate.judgement),
        evidence=_evidence(shipped, about),
        provenance=Provenance(
            source_sha256=about.facts.sha256,
            recipe=about.recipe.label,
            steps=list(candidate.piece.steps),
            tools=tools(candidate.variant.format),
            signature=about.signature,
        ),
    )


def runtime_range(candidate: Made) -> str:
    """Versions of the runtime that may load a candidate."""
    said = candidate.piece.runtime_range
    if candidate.variant.format == "onnx":
        return onnx_versions.runtime_range(candidate.piece.model_path, said)
    return said or _RANGES[candidate.variant.format]


def tensor_specs(specs: list[TensorSpec], model: ModelSpec) -> list[TensorSpec]:
    """Inputs or outputs of a source as one of its artifacts has them: where that takes one sample at a time, its sample
    axis is 1.
    """
    return specs if model.batch_free else [_of_one(spec, model.axes.get(spec.name, 0)) for spec in specs]


def _of_one(spec: TensorSpec, axis: int | None) -> TensorSpec:
    return msgspec.structs.replace(spec, shape=[1 if k == axis else n for k, n in enumerate(spec.shape)])


def tools(format_name: Format) -> dict[str, str]:
    """Versions of what makes a format."""
    return {"edgelift": __version__} | {name: metadata.version(name) for name in _TOOLS[format_name]}


def _budgets(judged: Judgement) -> Budgets:
    if judged.unit == "points":
        return Budgets(accuracy_drop_pp=judged.budget)
    return Budgets(loss_percent=judged.budget)


def _evidence(shipped: Shipped, about: Identity) -> list[Evidence]:
    return [said for judged in shipped.candidate.judgements for said in _said(judged, shipped, about)]


def _said(judged: Judgement, shipped: Shipped, about: Identity) -> list[Evidence]:
    candidate = shipped.candidate
    value = Evidence(
        metric=judged.metric,
        value=_short(judged.value),
        low=_short(judged.low),
        high=_short(judged.high),
        n=judged.n,
        data_sha256=about.facts.data_sha256,
        baseline=_short(judged.baseline),
        measured_on=about.host,
        runtime=f"{candidate.runtime} {runtime_version(candidate.runtime)}",
        verdict=shipped.verdict,
        unit="" if judged.unit == "points" else "percent",
    )
    drop = msgspec.structs.replace(
        value,
        metric=f"{judged.metric}-drop",
        value=_short(judged.loss / 100),
        low=_short(judged.loss_low / 100),
        high=_short(judged.loss_high / 100),
        baseline=0.0,
    )
    return [value, drop]


def _short(share: float) -> float:
    return round(share, 6)


def _blob(source: Path, path: str, role: FileRole, folder: Path) -> FileEntry:
    """Copy one file to `blobs/<sha256>`, hashing on the way; a blob that is there already is shared."""
    sha, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            size += len(block)
    blob = folder / BLOBS / sha.hexdigest()
    blob.parent.mkdir(exist_ok=True)
    if not blob.exists():
        shutil.copyfile(source, blob)
    return FileEntry(path, size, sha.hexdigest(), role)
