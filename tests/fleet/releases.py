"""Real release folders, tiny: manifests through the contract's own types, files of random bytes."""

import random
from pathlib import Path

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
from edgelift_contract.release import Release, ReleaseArtifact


def make_release(
    folder: Path,
    version: str = "1",
    *,
    model: str = "digits",
    classes: tuple[str, ...] = ("x86-64-avx2", "arm64-neon"),
    size_bytes: int = 5000,
    salt: str = "",
) -> Release:
    """Write a release with one onnxruntime artifact per hardware class; equal arguments give equal bytes."""
    (folder / "manifests").mkdir(parents=True)
    (folder / "blobs").mkdir()
    entries = []
    for rank, hardware_class in enumerate(classes):
        body = random.Random(f"{model}@{version}/{hardware_class}{salt}").randbytes(size_bytes)
        goldens = dump_goldens([])
        for data in (body, goldens):
            (folder / "blobs" / codec.digest(data)).write_bytes(data)
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
        artifact, data = dump_manifest(manifest)
        (folder / "manifests" / artifact).write_bytes(data)
        entries.append(
            ReleaseArtifact(
                id=artifact,
                manifest_bytes=len(data),
                hardware_class=hardware_class,
                targets=["test"],
                runtime="onnxruntime",
                format="onnx",
                variant="float32",
                rank=rank,
                size_bytes=manifest.total_bytes,
            )
        )
    release = Release(schema=1, model=model, version=version, release_counter=int(version), artifacts=entries)
    (folder / "release.json").write_bytes(codec.canonical_json(release))
    return release
