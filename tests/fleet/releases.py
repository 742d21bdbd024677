"""Real release folders, tiny: manifests through the contract's own types, files of random bytes."""

import random
from pathlib import Path
from typing import Any

import msgspec

from edgelift_contract import codec
from edgelift_contract.golden import dump_goldens
from edgelift_contract.manifest import (
    FileEntry,
    Goldens,
    Manifest,
    Provenance,
    TensorSpec,
    Tolerance,
    dump_manifest,
)
from edgelift_contract.release import Release
from tests.simulators.releases import write_release


def make_release(
    folder: Path,
    version: str = "1",
    *,
    model: str = "digits",
    classes: tuple[str, ...] = ("x86-64-avx2", "arm64-neon"),
    size_bytes: int = 5000,
    salt: str = "",
    **changes: Any,
) -> Release:
    """Write a release with one onnxruntime artifact per hardware class, some fields of their manifests changed; equal
    arguments give equal bytes.
    """
    manifests, blobs = [], {}
    for hardware_class in classes:
        body = random.Random(f"{model}@{version}/{hardware_class}{salt}").randbytes(size_bytes)
        goldens = dump_goldens([])
        blobs |= {codec.digest(data): data for data in (body, goldens)}
        manifest = Manifest(
            schema=1, model=model, version=version, release_counter=int(version), variant="float32",
            hardware_class=hardware_class, format="onnx", runtime="onnxruntime",
            files=[
                FileEntry("model.onnx", len(body), codec.digest(body), "model"),
                FileEntry("goldens.msgpack", len(goldens), codec.digest(goldens), "goldens"),
            ],
            inputs=[TensorSpec("x", "FP32", [-1, 4])],
            outputs=[TensorSpec("y", "FP32", [-1, 4])],
            goldens=Goldens("goldens.msgpack", 1, Tolerance("none", 1e-5)),
            provenance=Provenance(codec.digest(b"source"), "test#0"),
        )  # fmt: skip
        manifests.append(dump_manifest(msgspec.structs.replace(manifest, **changes))[1])
    return write_release(folder, manifests, blobs)
