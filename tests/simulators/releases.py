"""Release folders as the builder lays them out, from manifests and the bytes of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgelift_contract import codec
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.release import BLOBS, MANIFESTS, RELEASE_FILE, Release, ReleaseArtifact


def write_release(folder: Path, manifests: Sequence[bytes], blobs: Mapping[str, bytes]) -> Release:
    """Write a release of these artifacts, best first, into a fresh `folder`.

    Args:
        folder: the release's.
        manifests: canonical bytes of each, all of one model and version.
        blobs: SHA-256 → bytes of every file that they name; others are left out.
    """
    (folder / MANIFESTS).mkdir(parents=True)
    (folder / BLOBS).mkdir()
    entries = []
    for rank, data in enumerate(manifests):
        manifest = parse_manifest(data)
        (folder / MANIFESTS / codec.digest(data)).write_bytes(data)
        for file in manifest.files:
            (folder / BLOBS / file.sha256).write_bytes(blobs[file.sha256])
        entries.append(
            ReleaseArtifact(
                id=codec.digest(data), manifest_bytes=len(data), hardware_class=manifest.hardware_class,
                targets=["test"], runtime=manifest.runtime, format=manifest.format, variant=manifest.variant, rank=rank,
                size_bytes=manifest.total_bytes,
            )
        )  # fmt: skip
    release = Release(
        schema=Release.SCHEMA, model=manifest.model, version=manifest.version,
        release_counter=manifest.release_counter, artifacts=entries,
    )  # fmt: skip
    (folder / RELEASE_FILE).write_bytes(codec.canonical_json(release))
    return release
