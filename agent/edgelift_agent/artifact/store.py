"""Blobs by digest and artifacts by id, on disk.

    blobs/<sha256>               whole and verified, never written again
    partial/<sha256>             on its way; kept over restarts so that a fetch resumes
    artifacts/<id>/<path>        names for an artifact's blobs, as its runtime expects them; hard links
    artifacts/<id>/manifest.json the manifest's bytes
    engines/<id>/                what TensorRT made of an artifact, where there is TensorRT; not written here

A name in `blobs` or `artifacts` appears by one rename once everything below it is durable. A model file is
never overwritten: runtimes map it into memory, and a file changed under a mapping changes loaded weights.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path

from edgelift_agent.system.disk import Disk, mapped_errors
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Manifest, parse_manifest

MANIFEST_FILE = "manifest.json"
#: What is wrong with files on disk, not with the artifact: they are fetched again.
DAMAGED = frozenset({"missing-blob", "digest-mismatch", "size-mismatch"})
_CHUNK_BYTES = 1 << 20


class Store:
    """Files below one folder."""

    def __init__(self, root: Path, disk: Disk) -> None:
        """Bind; nothing is made before `make_folders`."""
        self.root, self.disk = root, disk
        self._claims: dict[str, threading.Lock] = {}
        self._claims_lock = threading.Lock()
        #: Names that `collect` leaves alone whoever needs them: of what is brought for an assignment not taken yet.
        self.spared: set[str] = set()
        self.blobs, self.partials, self.artifacts = root / "blobs", root / "partial", root / "artifacts"
        self.engines = root / "engines"

    def make_folders(self) -> None:
        """Make the folders; those that are there are fine.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`.
        """
        for folder in (self.blobs, self.partials, self.artifacts):
            self.disk.make_folder(folder)

    def blob(self, sha256: str) -> Path:
        """Where the blob is, or will be."""
        return self.blobs / sha256

    def partial(self, sha256: str) -> Path:
        """Where the blob's bytes gather while they come."""
        return self.partials / sha256

    def folder(self, artifact: str) -> Path:
        """The artifact's folder, or where it will be."""
        return self.artifacts / artifact

    def is_staged(self, artifact: str) -> bool:
        """Is the artifact's folder complete? (It appears whole or not at all.)"""
        return (self.folder(artifact) / MANIFEST_FILE).is_file()

    def missing(self, manifest: Manifest) -> list[tuple[str, int]]:
        """Blobs that the manifest names and that are not here, each once: (sha256, size in bytes)."""
        wanted = {entry.sha256: entry.size_bytes for entry in manifest.files}
        return [(sha, size) for sha, size in wanted.items() if not self.has(sha, size)]

    def claim(self, sha256: str) -> threading.Lock:
        """The lock of whoever brings this blob: slots share blobs, and each fetches on a thread of its own."""
        with self._claims_lock:
            return self._claims.setdefault(sha256, threading.Lock())

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Is the blob here, in its length?"""
        try:
            return self.blob(sha256).stat().st_size == size_bytes
        except OSError:
            return False

    def manifest(self, artifact: str) -> Manifest:
        """Read and check a manifest that was fetched or staged.

        Raises:
            ContractError: `missing-blob`, `digest-mismatch` or what `parse_manifest` raises.
            DeviceError: the disk's.
        """
        return parse_manifest(self.manifest_bytes(artifact))

    def manifest_bytes(self, artifact: str) -> bytes:
        """A manifest as it came. Raises as `manifest`, but for its form."""
        for path in (self.blob(artifact), self.folder(artifact) / MANIFEST_FILE):
            with mapped_errors("read", path):
                try:
                    data = path.read_bytes()
                except FileNotFoundError:
                    continue
            if hashlib.sha256(data).hexdigest() != artifact:
                raise ContractError("digest-mismatch", f"The manifest of {artifact[:12]} was altered on disk.")
            return data
        raise ContractError("missing-blob", f"The manifest of {artifact[:12]} is not on this device.")

    def verify(self, artifact: str) -> Manifest:
        """Hash every file of an artifact, whether staged or still in `blobs`.

        Damaged blobs are removed, so that the next try fetches them again.

        Raises:
            ContractError: `missing-blob`, `size-mismatch` or `digest-mismatch`, naming the file.
        """
        try:
            manifest = self.manifest(artifact)
        except ContractError as error:
            if error.code in DAMAGED:
                self.discard(artifact, artifact)
            raise
        for entry in manifest.files:
            path = self.blob(entry.sha256)
            with mapped_errors("read", path):
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    raise ContractError(
                        "missing-blob", f"{entry.path} of {manifest.model}@{manifest.version} is gone."
                    ) from None
            if size != entry.size_bytes:
                self.discard(artifact, entry.sha256)
                raise ContractError(
                    "size-mismatch", f"{entry.path} has {size} bytes instead of {entry.size_bytes}."
                )
            if hash_file(path) != entry.sha256:
                self.discard(artifact, entry.sha256)
                raise ContractError("digest-mismatch", f"{entry.path} was altered on disk.")
        return manifest

    def discard(self, artifact: str, sha256: str) -> None:
        """Remove a blob that this disk has damaged, and the artifact's folder with it.

        Raises:
            DeviceError: the disk's.
        """
        # The staged folder links to the same damaged file: without it, staging can't be skipped next time.
        self.disk.remove_tree(self.folder(artifact))
        self.disk.unlink(self.blob(sha256))

    def stage(self, artifact: str, manifest: Manifest) -> Path:
        """Give an artifact's blobs the names that its runtime expects; returns the folder.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`.
        """
        folder = self.folder(artifact)
        if self.is_staged(artifact):
            return folder
        temporary = self.artifacts / f".{artifact}.tmp"
        self.disk.remove_tree(temporary)
        self.disk.make_folder(temporary)
        for entry in manifest.files:
            path = temporary / entry.path
            self.disk.make_folder(path.parent)
            self.disk.link(self.blob(entry.sha256), path)
        self.disk.link(self.blob(artifact), temporary / MANIFEST_FILE)
        self.disk.fsync_folder(temporary)
        self.disk.rename(temporary, folder)
        return folder

    def collect(self, keep: Iterable[str]) -> int:
        """Remove every artifact, blob, partial file and TensorRT engine that none of the artifacts in `keep` needs.

        Returns:
            How many files and folders went.
        """
        keep = set(keep) | self.spared
        blobs = set(keep)
        for artifact in keep:
            try:
                blobs.update(entry.sha256 for entry in self.manifest(artifact).files)
            except ContractError:
                continue  # not fetched yet: nothing of it to protect but what is in `keep`
        gone = 0
        engines = self._names(self.engines) if self.engines.is_dir() else []
        for path in (*self._names(self.artifacts), *engines):
            if path.name not in keep:
                self.disk.remove(path)
                gone += 1
        for path in (*self._names(self.blobs), *self._names(self.partials)):
            if path.name not in blobs and path.name not in self.spared:
                self.disk.remove(path)
                gone += 1
        return gone

    @staticmethod
    def _names(folder: Path) -> list[Path]:
        with mapped_errors("list", folder):
            return sorted(folder.iterdir())


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces; 64 lower-case hexadecimal digits."""
    sha = hashlib.sha256()
    with mapped_errors("read", path), path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()
