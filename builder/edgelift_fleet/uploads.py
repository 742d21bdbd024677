"""A blob on its way into the store, piece by piece as it comes over a link: whole and right at its end, or not there.

Beside `blobs`, which takes files that lie on this machine, all of a release at once. The pieces go into a file below
`.uploads` that its writer holds locked; a file there that nobody holds is what a crash has left, and whoever begins an
upload takes it away. So one that broke off is begun anew, and nothing of it is ever kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_fleet.blob_files import DAMAGED, is_whole
from edgelift_fleet.files import disk_errors, sync_folder

_UPLOADS = ".uploads"
#: What is left of the disk for everything else, bytes.
_SPARE_BYTES = 16 << 20
_WHAT = "the blob store"


@dataclass(frozen=True)
class TakenBlob:
    """What became of a blob that came.

    Attributes:
        size_bytes: its length.
        new: it was not here.
        mended: it was here, and no longer what its name says.
    """

    size_bytes: int
    new: bool
    mended: bool


class BlobUpload(Protocol):
    """A blob that comes. Every upload that was begun is ended by `finish` or `discard`."""

    def write(self, data: bytes) -> None:
        """The next piece.

        Raises:
            DeviceError: `disk-full`, `read-only`, `disk-error`.
            TransportError: `busy` when a far store does not answer.
        """

    def finish(self) -> TakenBlob:
        """All has come: put the blob in its place.

        Raises:
            ContractError: `digest-mismatch`, and nothing is kept.
            EdgeliftError: as `write`.
        """

    def discard(self) -> None:
        """Keep nothing of it; does nothing once it is finished or discarded."""


class FileUpload:
    """An upload into a folder of blobs."""

    def __init__(self, folder: Path, sha256: str, size_bytes: int) -> None:
        """Begin.

        Args:
            folder: of the blobs.
            sha256: what its digest must be.
            size_bytes: how many bytes are to come.

        Raises:
            DeviceError: `disk-full` also when there would not be enough room; `read-only`, `disk-error`.
        """
        self._folder, self._sha256 = folder, sha256
        self._digest, self._size = hashlib.sha256(), 0
        with disk_errors(_WHAT):
            uploads = folder / _UPLOADS
            uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(uploads)
            _refuse_without_room(folder, size_bytes)
            self._path, self._file = _create(uploads)

    def write(self, data: bytes) -> None:
        """See `BlobUpload`."""
        self._digest.update(data)
        self._size += len(data)
        with disk_errors(_WHAT):
            _write_all(self._file, data)

    def finish(self) -> TakenBlob:
        """See `BlobUpload`."""
        try:
            refuse_other(self._digest.hexdigest(), self._sha256)
            with disk_errors(_WHAT):
                return self._place()
        finally:
            self.discard()

    def _place(self) -> TakenBlob:
        target = self._folder / self._sha256
        there = target.is_file()
        whole = there and is_whole(target)
        was_here = there or (self._folder / DAMAGED / self._sha256).is_file()
        if not whole:
            os.fsync(self._file)
            os.fchmod(self._file, 0o400)
            self._path.replace(target)
            sync_folder(self._folder)
        return TakenBlob(self._size, new=not was_here, mended=was_here and not whole)

    def discard(self) -> None:
        """See `BlobUpload`."""
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def refuse_other(found: str, sha256: str) -> None:
    """Is it what its name says? Raises ContractError `digest-mismatch`."""
    if found != sha256:
        raise ContractError(
            "digest-mismatch", f"What came has the SHA-256 {found[:12]}…, and not {sha256[:12]}….",
            hint="Nothing of it is kept; send it again.",
        )  # fmt: skip


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _create(uploads: Path) -> tuple[Path, int]:
    """A new file, locked; as long as it is locked nobody sweeps it away."""
    while True:
        path = uploads / secrets.token_hex(16)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file), path.stat()):
                return path, file
        except FileNotFoundError:
            pass  # someone swept it away before it was locked
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def abandoned_uploads(folder: Path, *, delete: bool) -> dict[str, int]:
    """Files of uploads into a folder of blobs that nobody writes any more, with their bytes. Raises `OSError`."""
    uploads = folder / _UPLOADS
    return _sweep(uploads, delete=delete) if uploads.is_dir() else {}


def _sweep(uploads: Path, *, delete: bool = True) -> dict[str, int]:
    found = {}
    for path in uploads.iterdir():
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found[path.name] = os.fstat(file).st_size
            if delete:
                path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # it is being written
        finally:
            os.close(file)
    return found


def _refuse_without_room(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes + _SPARE_BYTES > free:
        raise DeviceError(
            "disk-full", f"{size_bytes} bytes are to come, and {free} are left for {_WHAT}.",
            hint="Free some and publish again.",
        )  # fmt: skip
