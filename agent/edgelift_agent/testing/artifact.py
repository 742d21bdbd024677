"""Whole artifacts for the toy runtime: a manifest, a model file that says how to behave, goldens."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import codec
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.golden import Golden, Tensor, dump_goldens
from edgelift_contract.hardware import this_machine
from edgelift_contract.manifest import (
    Budgets,
    FileEntry,
    Goldens,
    Manifest,
    Provenance,
    TensorSpec,
    Tolerance,
    dump_manifest,
)


def toy_artifact(
    version: str,
    file: ToyModelFile,
    *,
    padding: int = 0,
    golden_offset: float = 0.0,
    model: str = "toy",
    counter: int | None = None,
    hardware_class: Any = None,
    budgets: Budgets | None = None,
    policy: Policy | None = None,
    count: int = 4,
) -> tuple[SlotAssignment, dict[str, bytes]]:
    """A whole artifact for `ToyRuntime`: what to assign, and its blobs by digest.

    Args:
        version: of the release; a decimal one is also its counter.
        file: how the model behaves.
        padding: bytes to add to the model file, so that fetching takes a while.
        golden_offset: added to every golden output: not 0 makes the goldens wrong.
        model: of the manifest and the assignment.
        counter: the release counter; from the version when left out.
        hardware_class: of the manifest; this machine's when left out.
        budgets: of the manifest.
        policy: of the assignment.
        count: number of goldens.
    """
    noise = np.random.default_rng(len(version) + padding).integers(0, 256, padding, dtype=np.uint8).tobytes()
    body = msgspec.json.encode(file) + b"\n" + noise
    inputs = [np.arange(4, dtype=np.float32).reshape(1, 4) + i for i in range(count)]
    goldens = [
        Golden(
            [_tensor("x", x)], [_tensor("y", x * np.float32(file.scale) + np.float32(file.offset + golden_offset))]
        )
        for x in inputs
    ]
    data = dump_goldens(goldens)
    manifest = Manifest(
        schema=Manifest.SCHEMA,
        model=model,
        version=version,
        release_counter=counter if counter is not None else int(version),
        variant="float32",
        hardware_class=hardware_class or this_machine(),
        format="onnx",
        runtime="onnxruntime",
        files=[
            FileEntry("model.onnx", len(body), codec.digest(body), "model"),
            FileEntry("goldens.msgpack", len(data), codec.digest(data), "goldens"),
        ],
        inputs=[TensorSpec("x", "FP32", [-1, 4])],
        outputs=[TensorSpec("y", "FP32", [-1, 4])],
        goldens=Goldens("goldens.msgpack", count, Tolerance("toy", 1e-5)),
        provenance=Provenance(codec.digest(b"toy"), "toy#0"),
        budgets=budgets or Budgets(),
    )
    artifact, manifest_bytes = dump_manifest(manifest)
    blobs = {codec.digest(part): part for part in (body, data, manifest_bytes)}
    assignment = SlotAssignment(artifact, len(manifest_bytes), model, version, policy or Policy(probation_s=0.3))
    return assignment, blobs


def _tensor(name: str, array: Any) -> Tensor:
    return Tensor(name, "FP32", list(array.shape), np.ascontiguousarray(array, dtype="<f4").tobytes())
