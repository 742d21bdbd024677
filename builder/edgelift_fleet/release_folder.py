"""A release as files in a folder, read and judged: all that can be known of it without a site and without its blobs.

Both sides of publishing use it: whoever sends a release, before sending, and the registry, before believing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from edgelift_contract.release import BLOBS, MANIFESTS, RELEASE_FILE, Release, ReleaseArtifact
from edgelift_fleet.blob_files import check_digest, check_size, hash_file
from edgelift_fleet.files import disk_errors

#: release.json with its measurements; 50 artifacts are about 100 KB.
MAX_RELEASE_BYTES = 8 << 20


@dataclass(frozen=True)
class ReleaseFile:
    """A file that a release needs, manifests among them: where it is, and what it must be. `what` names it to a person."""

    path: Path
    sha256: str
    size_bytes: int
    what: str


def check_folder(folder: Path, progress: Callable[[int, int], None]) -> tuple[Release, list[ReleaseFile]]:
    """A release and all its files, each read to the last byte.

    Args:
        folder: as `edgelift_contract.release` describes it.
        progress: told (bytes done, bytes in all).

    Raises:
        ContractError: what is wrong with it; `missing-blob`, `size-mismatch`, `digest-mismatch` of its files.
        DeviceError: what the disk refuses.
    """
    release = load_release(folder)
    found: dict[str, ReleaseFile] = {}
    for entry in release.artifacts:
        found |= {file.sha256: file for file in files_of(folder, entry, load_manifest(folder, release, entry))}
    files = list(found.values())
    done, total = 0, sum(file.size_bytes for file in files)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    for file in files:
        check_size(file.path, file.size_bytes, file.what)
    for file in files:
        with disk_errors(f"the file {file.path.name}"):
            check_digest(hash_file(file.path, advance), file.sha256, file.what)
    return release, files


def load_release(folder: Path) -> Release:
    """What `release.json` in `folder` says.

    Raises:
        ContractError: `not-found`, `malformed`, `too-large`, `unknown-schema`.
        DeviceError: what the disk refuses.
    """
    path = folder / RELEASE_FILE
    if not path.is_file():
        raise ContractError(
            "not-found", f"{folder} is not a release: it has no {RELEASE_FILE}.", hint="Make one: edgelift build."
        )
    return parse_release_file(_read(path, MAX_RELEASE_BYTES, RELEASE_FILE))


def parse_release_file(data: bytes) -> Release:
    """The release in these bytes of a `release.json`. Raises ContractError `malformed`, `too-large`, `unknown-schema`."""
    release = codec.decode_json(data, Release, what=RELEASE_FILE, limit_bytes=MAX_RELEASE_BYTES)
    ids = [entry.id for entry in release.artifacts]
    if len(set(ids)) != len(ids):
        raise ContractError("malformed", f"{RELEASE_FILE} names an artifact twice.")
    return release


def load_manifest(folder: Path, release: Release, entry: ReleaseArtifact) -> Manifest:
    """The manifest of one artifact of a release in `folder`.

    Raises:
        ContractError: `missing-blob`, and as `judge_manifest`.
        DeviceError: what the disk refuses.
    """
    path = folder / MANIFESTS / entry.id
    if not path.is_file():
        raise ContractError(
            "missing-blob", f"The manifest {entry.id[:12]}… of {release_name(release)} is missing."
        )
    return judge_manifest(_read(path, MAX_MANIFEST_BYTES, f"The manifest {entry.id[:12]}…"), release, entry)


def judge_manifest(data: bytes, release: Release, entry: ReleaseArtifact) -> Manifest:
    """The manifest in these bytes, if it is the one that the release lists, and says what is listed.

    Raises:
        ContractError: `digest-mismatch`, `malformed`, `unknown-schema`, and what else `parse_manifest` raises.
    """
    # The schema is asked for first: it tells more than a digest that doesn't match.
    manifest = parse_manifest(data)
    if codec.digest(data) != entry.id:
        raise ContractError(
            "digest-mismatch", f"The manifest {entry.id[:12]}… of {release_name(release)} was altered."
        )
    listed: tuple[object, ...] = (
        entry.manifest_bytes, release.model, release.version, release.release_counter,
        entry.hardware_class, entry.runtime, entry.format, entry.variant, entry.size_bytes,
    )  # fmt: skip
    found: tuple[object, ...] = (
        len(data), manifest.model, manifest.version, manifest.release_counter,
        manifest.hardware_class, manifest.runtime, manifest.format, manifest.variant, manifest.total_bytes,
    )  # fmt: skip
    if listed != found:
        wrong = next(f"{t!r}, the manifest {f!r}" for t, f in zip(listed, found, strict=True) if t != f)
        raise ContractError("malformed", f"{RELEASE_FILE} says {wrong} of the artifact {entry.id[:12]}….")
    return manifest


def files_of(folder: Path, entry: ReleaseArtifact, manifest: Manifest) -> list[ReleaseFile]:
    """All files of an artifact, its manifest first."""
    of = f"{manifest.model}@{manifest.version} ({manifest.variant})"
    found = [
        ReleaseFile(
            folder / MANIFESTS / entry.id, entry.id, entry.manifest_bytes, f"The manifest {entry.id[:12]}…"
        )
    ]
    for file in manifest.files:
        path = folder / BLOBS / file.sha256
        found.append(ReleaseFile(path, file.sha256, file.size_bytes, f"The file {file.path!r} of {of}"))
    return found


def release_name(release: Release) -> str:
    """`model@version`."""
    return f"{release.model}@{release.version}"


def _read(path: Path, limit_bytes: int, what: str) -> bytes:
    with disk_errors(f"the file {path.name}"), path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ContractError("too-large", f"{what} has more than {limit_bytes} bytes.")
    return data
