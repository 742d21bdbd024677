"""Fetching blobs: only what is missing, resumed where it stopped, checked while it streams.

A partial file's bytes are hashed anew before the rest is asked for; the digest is judged over the whole. If a
*resumed* blob comes out wrong, the old part may be to blame, so it is fetched once more from the start. One that is
wrong in one piece is `WrongBytes`: something on the way may have altered it, so that is trouble of the link until it
has happened too often. Deciding what to do about a failure is not its business.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgelift_agent.artifact.store import DAMAGED, Store
from edgelift_agent.ports import BlobSource
from edgelift_agent.system.disk import mapped_errors
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.manifest import MAX_MANIFEST_BYTES, Manifest

log = logging.getLogger(__name__)

#: Space left alone on the device's disk, bytes: logs and the journal must still find room.
RESERVE_BYTES = 32 << 20

_CHUNK_BYTES = 256 * 1024
#: How often to see whether a fetch that waits for another slot's was given up, seconds.
_LOOK_S = 0.5
#: What is gathered before it is written, bytes: pieces come as small as the network makes them.
_WRITE_BYTES = 64 * 1024


class Superseded(Exception):
    """The fetch was given up because a newer assignment came."""


class WrongBytes(TransportError):
    """A blob came whole, in its length, and has another digest.

    Attributes:
        sha256: the digest that it should have.
    """

    def __init__(self, sha256: str) -> None:
        super().__init__(
            "digest-mismatch",
            f"Blob {sha256[:12]} does not have the digest that its manifest names: it was altered on its way.",
        )
        self.sha256 = sha256


class Fetcher:
    """Brings blobs from a `BlobSource` into a `Store`."""

    def __init__(self, source: BlobSource, store: Store, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._source, self._store, self._reserve_bytes = source, store, reserve_bytes
        self.fetched_bytes = 0

    def manifest(self, artifact: str, size_bytes: int, cancelled: Callable[[], bool]) -> Manifest:
        """Fetch and parse an artifact's manifest.

        Raises:
            TransportError: try again. ContractError: refuse. DeviceError: this device can't. Superseded.
        """
        if size_bytes > MAX_MANIFEST_BYTES:  # nobody's word, and no signature, has this device fetch more
            raise ContractError(
                "too-large",
                f"The manifest of {artifact[:12]} is to have {size_bytes} bytes; at most {MAX_MANIFEST_BYTES} are allowed.",
            )
        if self._store.blob(artifact).exists():
            try:
                return self._store.manifest(artifact)
            except ContractError as error:
                if error.code not in DAMAGED:
                    raise
                log.error("%s It is fetched again.", error)
                self._store.discard(artifact, artifact)
        self.blob(artifact, size_bytes, cancelled)
        return self._store.manifest(artifact)

    def files(self, manifest: Manifest, cancelled: Callable[[], bool]) -> None:
        """Fetch what is missing of a manifest's files, after making sure that there is room. Raises as above."""
        missing = self._store.missing(manifest)
        self._check_space(missing)
        for sha256, size_bytes in missing:
            self.blob(sha256, size_bytes, cancelled)

    def _check_space(self, missing: list[tuple[str, int]]) -> None:
        need = sum(size for _, size in missing)
        have = sum(p.stat().st_size for sha, _ in missing if (p := self._store.partial(sha)).exists())
        free = self._store.disk.free_bytes(self._store.root)
        if need - have + self._reserve_bytes > free:
            raise DeviceError(
                "disk-full",
                f"The artifact needs {(need - have) / 1e6:.1f} MB more; {free / 1e6:.1f} MB are free"
                f" and {self._reserve_bytes / 1e6:.0f} MB of them are kept back.",
                hint="Free some space on the device.",
            )

    def blob(self, sha256: str, size_bytes: int, cancelled: Callable[[], bool]) -> None:
        """Fetch one blob. Raises as `manifest` does; whatever came of a cut transfer is kept.

        One that another slot is fetching is waited for, not fetched beside it.
        """
        claim = self._store.claim(sha256)
        while not claim.acquire(timeout=_LOOK_S):
            if cancelled():
                raise Superseded
        try:
            if not self._store.has(sha256, size_bytes):
                self._fetch(sha256, size_bytes, cancelled)
        finally:
            claim.release()

    def _fetch(self, sha256: str, size_bytes: int, cancelled: Callable[[], bool]) -> None:
        while True:
            try:
                resumed = self._stream(sha256, size_bytes, cancelled)
            except DeviceError as error:
                if error.code == "disk-full":
                    # What we took is given back, or the journal could not even note the failure.
                    self._store.disk.unlink(self._store.partial(sha256))
                raise
            if resumed is None:
                return self._keep(sha256)
            self._store.disk.unlink(self._store.partial(sha256))
            if not resumed:
                raise WrongBytes(sha256)
            log.warning("blob %s was wrong after resuming; fetching it whole", sha256[:12])

    def _stream(self, sha256: str, size_bytes: int, cancelled: Callable[[], bool]) -> bool | None:
        """Bring the rest; None when the whole is right, else whether an earlier try's part may be to blame."""
        partial = self._store.partial(sha256)
        sha = hashlib.sha256()
        offset = self._hash_partial(sha256, size_bytes, sha)
        if offset < size_bytes:
            with self._source.open_blob(sha256, offset, size_bytes) as (start, pieces):
                if start not in (0, offset):
                    raise TransportError("server-error", f"The server began at byte {start} instead of {offset}.")
                rest = _without(pieces, offset - start)
                got = offset + self._append(partial, rest, size_bytes - offset, sha, cancelled)
            if got < size_bytes:
                raise TransportError("cut-short", f"Blob {sha256[:12]} ended after {got} of {size_bytes} bytes.")
        return None if sha.hexdigest() == sha256 else offset > 0

    def _append(
        self, partial: Path, pieces: Iterator[bytes], wanted: int, sha: Any, cancelled: Callable[[], bool]
    ) -> int:
        """Write what comes, and what came before a cut as well; returns how many of the `wanted` bytes that were."""
        disk, got, waiting = self._store.disk, 0, bytearray()
        with disk.open(partial, "ab") as handle:
            try:
                for piece in pieces:
                    if cancelled():
                        raise Superseded
                    sha.update(piece)
                    got += len(piece)
                    self.fetched_bytes += len(piece)
                    waiting += piece
                    if len(waiting) >= _WRITE_BYTES:
                        disk.write(handle, bytes(waiting), partial)
                        waiting.clear()
            except (TransportError, Superseded):
                disk.write(handle, bytes(waiting), partial)
                disk.fsync(handle, partial)
                raise
            disk.write(handle, bytes(waiting), partial)
            if got < wanted:
                disk.fsync(handle, partial)
        return got

    def _hash_partial(self, sha256: str, size_bytes: int, sha: Any) -> int:
        """Length of what is usable of an earlier try, already fed to `sha`; bytes."""
        partial = self._store.partial(sha256)
        if not partial.exists():
            return 0
        if partial.stat().st_size > size_bytes:
            self._store.disk.unlink(partial)
            return 0
        with mapped_errors("read", partial), partial.open("rb") as handle:
            while chunk := handle.read(_CHUNK_BYTES):
                sha.update(chunk)
        return partial.stat().st_size

    def _keep(self, sha256: str) -> None:
        partial = self._store.partial(sha256)
        with self._store.disk.open(partial, "ab") as handle:
            self._store.disk.fsync(handle, partial)
        self._store.disk.rename(partial, self._store.blob(sha256))


def _without(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The pieces but for their first `count` bytes, which an earlier try brought."""
    for piece in pieces:
        left, count = piece[count:], max(0, count - len(piece))
        if left:
            yield left
