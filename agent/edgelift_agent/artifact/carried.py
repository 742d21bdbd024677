"""Blobs that were carried here in a folder: copied into the store while they are verified, so that nobody needs it later.

Whoever wrote the folder is not trusted: sizes and digests come from what was signed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelift_agent.artifact.fetch import Fetcher, WrongBytes
from edgelift_agent.artifact.store import Store
from edgelift_agent.system.inside import open_inside
from edgelift_contract.carried import blob_name, signed_name
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.manifest import Manifest
from edgelift_contract.signed import MAX_SIGNED_BYTES

_PIECE_BYTES = 256 * 1024


class CarriedFolder:
    """A stick's folder; see `edgelift_contract.carried`. A `BlobSource`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def signed(self, device: str) -> bytes:
        """The device's signed metadata; nothing in it is trusted yet.

        Raises:
            ContractError: `not-found`, `bad-path`, `too-large`. DeviceError: it can't be read.
        """
        name = signed_name(device)
        descriptor = self._open(
            name,
            ContractError("not-found", f"{self._folder} has nothing for {device!r}: there is no {name} in it."),
        )
        with os.fdopen(descriptor, "rb") as file:
            try:
                data = file.read(MAX_SIGNED_BYTES + 1)
            except OSError as error:
                raise DeviceError("disk-error", f"{name} can't be read: {error.strerror}.") from error
        if len(data) > MAX_SIGNED_BYTES:
            raise ContractError("too-large", f"{name} has more than {MAX_SIGNED_BYTES} bytes.")
        return data

    @contextmanager
    def open_blob(self, sha256: str, offset: int, size_bytes: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """See `ports.BlobSource`.

        Raises:
            ContractError: `missing-blob`, `bad-path`, `size-mismatch`. DeviceError: it can't be opened.
            TransportError: `cut-short`: it could be read no further, as when the stick was pulled.
        """
        name = blob_name(sha256)
        missing = ContractError(
            "missing-blob", f"{name} is not in the folder.", hint="Export it once more: it was cut off."
        )
        with os.fdopen(self._open(name, missing), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != size_bytes:
                raise ContractError("size-mismatch", f"{name} has {size} bytes instead of {size_bytes}.")
            yield offset, _pieces(file.fileno(), name, offset, size_bytes)

    def _open(self, name: str, missing: ContractError) -> int:
        try:
            return open_inside(self._folder, name)
        except FileNotFoundError as error:
            raise missing from error
        except OSError as error:
            raise _refused(self._folder, name, error) from error


def _refused(folder: Path, name: str, error: OSError) -> ContractError | DeviceError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EINVAL):
        return ContractError("bad-path", f"{name} in {folder} is a link, or no file.", hint="Export it once more.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeviceError(
            "not-allowed", f"The agent's user may not read {name} in {folder}.",
            hint="Mount the stick for all to read, as with: mount -o ro,umask=022",
        )  # fmt: skip
    return DeviceError("disk-error", f"{name} in {folder} can't be opened: {error.strerror}.")


def _pieces(descriptor: int, name: str, offset: int, end: int) -> Iterator[bytes]:
    while offset < end:
        try:
            piece = os.pread(descriptor, min(_PIECE_BYTES, end - offset), offset)
        except OSError as error:
            raise TransportError("cut-short", f"{name} can't be read any further: {error.strerror}.") from error
        if not piece:
            return
        offset += len(piece)
        yield piece


class _Beside(Store):
    """The same store, with names of its own for what is on its way: a slow download of the same blob is not waited for."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.root, store.disk)

    def partial(self, sha256: str) -> Path:
        """Where the blob's bytes gather while they come."""
        return self.partials / f"{sha256}.carried"


class Carrying:
    """Copies what artifacts need into the store, where `collect` spares it until the block ends; then it is assigned."""

    def __init__(self, folder: CarriedFolder, store: Store, *, reserve_bytes: int) -> None:
        self._store = store
        self._fetcher = Fetcher(folder, _Beside(store), reserve_bytes=reserve_bytes)
        self._spared: set[str] = set()

    def __enter__(self) -> Carrying:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.spared -= self._spared

    @property
    def copied_bytes(self) -> int:
        """How much came from the folder."""
        return self._fetcher.fetched_bytes

    def bring(self, artifact: str, manifest_bytes: int) -> Manifest:
        """Have an artifact's manifest and files in the store; what is there already is not read again.

        Raises:
            ContractError: `digest-mismatch`, as `CarriedFolder.open_blob`, or the manifest's. DeviceError: this disk's.
            TransportError: `cut-short`; what came is kept.
        """
        try:
            self._spare(artifact)
            manifest = self._fetcher.manifest(artifact, manifest_bytes, _never)
            self._spare(*(file.sha256 for file in manifest.files))
            self._fetcher.files(manifest, _never)
        except WrongBytes as error:
            raise ContractError(
                "digest-mismatch", f"{blob_name(error.sha256)} in the folder is not what was signed: it was altered.",
                hint="Export it once more.",
            ) from error  # fmt: skip
        return manifest

    def _spare(self, *names: str) -> None:
        new = {part for name in names for part in (name, f"{name}.carried")} - self._store.spared
        self._store.spared |= new
        self._spared |= new


def _never() -> bool:
    return False
