"""The blob store: files by their SHA-256, written once, never changed.

`Blobs` is the port; `BlobStore` keeps them in a folder, `remote_blobs` in an object store.

Files arrive in a batch: each is copied to a temporary name while it is hashed, and only when all of a batch
proved right are they renamed into place. What fails leaves nothing behind; what a power cut leaves is a
temporary file that the next batch sweeps away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from edgelift_contract.ids import SHA256_PATTERN, check_sha256
from edgelift_fleet.blob_files import DAMAGED, PIECE_BYTES, check_digest, check_size, hash_file, is_whole
from edgelift_fleet.files import disk_errors, sync_folder
from edgelift_fleet.uploads import BlobUpload, FileUpload, abandoned_uploads

_INCOMING = ".incoming"


class BlobIntake(Protocol):
    """Blobs on their way into a store.

    Attributes:
        mended: blobs that were there and no longer what their names say.
    """

    mended: int

    def add(
        self, source: Path, sha256: str, size_bytes: int, *, what: str, advance: Callable[[int], None] = ...
    ) -> None:
        """Take a file in, checking it while it is copied.

        Args:
            source: the file.
            sha256: what its digest must be.
            size_bytes: what its length must be.
            what: how to name it to a person.
            advance: told how many bytes were read, for a progress bar.

        Raises:
            ContractError: `missing-blob`, `size-mismatch`, `digest-mismatch`.
        """


class Blobs(Protocol):
    """Where blobs are kept."""

    def path(self, sha256: str) -> Path | None:
        """The blob as a file of this machine; None when it isn't here, or is in no file.

        Raises:
            ContractError: `bad-id` when `sha256` is no digest.
        """

    def size(self, sha256: str) -> int | None:
        """How many bytes the blob has; None when there is none. Raises as `path`, and what a far store raises."""

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Those of these blobs that are there, with their bytes: a far store is asked by lists, not one by one.

        Raises as `size`.
        """

    def read(self, sha256: str, begin: int, end: int) -> Iterator[bytes]:
        """The bytes from `begin` up to `end`, in pieces. Raises what a far store raises."""

    def upload(self, sha256: str, size_bytes: int) -> BlobUpload:
        """Begin to take in a blob of so many bytes that comes in pieces.

        Raises:
            ContractError: `bad-id` when `sha256` is no digest.
            DeviceError: `disk-full` also when there would not be enough room; `read-only`, `disk-error`.
            TransportError: `busy` when a far store does not answer.
        """

    def is_whole(self, sha256: str) -> bool:
        """Is the blob there, and what its name says? Reads it. Raises as `size`."""

    def batch(self) -> AbstractContextManager[BlobIntake]:
        """Add blobs all together: in place at the end of the block, or none of them.

        Raises:
            DeviceError: `disk-full`, `read-only`, `disk-error`.
            TransportError: `busy` when a far store does not answer.
        """

    def stored(self) -> dict[str, int]:
        """All blobs that are there now, damaged ones too, with their bytes. Raises as `batch`."""

    def remove(self, digests: Collection[str]) -> None:
        """Delete blobs; one that isn't there is no matter. Raises as `batch`."""

    def leftovers(self, older_than_s: float, /, *, delete: bool) -> dict[str, int]:
        """What uploads have left that were interrupted, by a name for it, with its bytes (0 where nothing says).

        Args:
            older_than_s: only of uploads that began so long ago, where it can't be seen whether one is under way.
            delete: take it away. Raises as `batch`.
        """


class BlobStore:
    """Blobs in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    def path(self, sha256: str) -> Path | None:
        """Where a blob is; None when it isn't here.

        Raises:
            ContractError: `bad-id` when `sha256` is no digest.
        """
        path = self._folder / check_sha256(sha256)
        return path if path.is_file() else None

    def size(self, sha256: str) -> int | None:
        """See `Blobs`."""
        path = self.path(sha256)
        return path.stat().st_size if path is not None else None

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """See `Blobs`."""
        found = ((sha256, self.size(sha256)) for sha256 in digests)
        return {sha256: size for sha256, size in found if size is not None}

    def read(self, sha256: str, begin: int, end: int) -> Iterator[bytes]:
        """See `Blobs`."""
        with (self._folder / check_sha256(sha256)).open("rb") as file:
            file.seek(begin)
            while begin < end and (piece := file.read(min(PIECE_BYTES, end - begin))):
                begin += len(piece)
                yield piece

    def upload(self, sha256: str, size_bytes: int) -> FileUpload:
        """See `Blobs`."""
        return FileUpload(self._folder, check_sha256(sha256), size_bytes)

    def is_whole(self, sha256: str) -> bool:
        """See `Blobs`."""
        path = self.path(sha256)
        return path is not None and is_whole(path)

    def stored(self) -> dict[str, int]:
        """See `Blobs`."""
        with disk_errors("the blob store"):
            found = {path.name: path.stat().st_size for path in _digests(self._folder / DAMAGED)}
            return found | {path.name: path.stat().st_size for path in _digests(self._folder)}

    def remove(self, digests: Collection[str]) -> None:
        """See `Blobs`."""
        with disk_errors("the blob store"):
            for sha256 in digests:
                (self._folder / check_sha256(sha256)).unlink(missing_ok=True)
                (self._folder / DAMAGED / sha256).unlink(missing_ok=True)
            sync_folder(self._folder)

    def leftovers(self, _older_than_s: float, /, *, delete: bool) -> dict[str, int]:
        """See `Blobs`; whether an upload is under way is seen by its lock."""
        with disk_errors("the blob store"):
            found = abandoned_uploads(self._folder, delete=delete)
            incoming = self._folder / _INCOMING
            lock = _hold_now(incoming)
            if lock is None:
                return found
            try:
                found |= {path.name: path.stat().st_size for path in incoming.iterdir() if path.name != "lock"}
                if delete:
                    shutil.rmtree(incoming)
                return found
            finally:
                os.close(lock)

    @contextmanager
    def batch(self) -> Iterator[BlobBatch]:
        """Add blobs all together: in place at the end of the block, or none of them.

        Raises:
            DeviceError: `disk-full`, `read-only`, `disk-error`.
        """
        incoming = self._folder / _INCOMING
        with disk_errors("the blob store"):
            lock = _hold(incoming)
        try:
            for leftover in incoming.iterdir():
                if leftover.name != "lock":
                    leftover.unlink(missing_ok=True)
            batch = BlobBatch(self._folder, incoming)
            with disk_errors("the blob store"):
                yield batch
                batch.commit()
        finally:
            shutil.rmtree(incoming, ignore_errors=True)
            os.close(lock)


class BlobBatch:
    """Blobs on their way into the store."""

    def __init__(self, folder: Path, incoming: Path) -> None:
        self._folder, self._incoming = folder, incoming
        self._staged: set[str] = set()
        self.mended = 0  # blobs that were here and no longer what their names say

    def add(
        self,
        source: Path,
        sha256: str,
        size_bytes: int,
        *,
        what: str,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """See `BlobIntake`."""
        check_size(source, size_bytes, what)
        kept = sha256 in self._staged or self._holds(sha256)
        digest = hash_file(source, advance) if kept else _copy(source, self._incoming / sha256, advance)
        check_digest(digest, sha256, what)
        if not kept:
            self._staged.add(sha256)

    def _holds(self, sha256: str) -> bool:
        """Is the blob here, and whole; publishing again is how one that the disk has damaged is mended."""
        path = self._folder / sha256
        if not path.is_file():
            self.mended += (self._folder / DAMAGED / sha256).is_file()
            return False
        whole = is_whole(path)
        self.mended += not whole
        return whole

    def commit(self) -> None:
        """Rename everything into place, durably."""
        for sha256 in sorted(self._staged):
            (self._incoming / sha256).replace(self._folder / sha256)
        sync_folder(self._folder)
        self._staged.clear()


def _digests(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if re.match(SHA256_PATTERN, p.name)] if folder.is_dir() else []


def _hold_now(incoming: Path) -> int | None:
    """The lock of a folder that a batch has left; None where there is none, or a batch holds it."""
    try:
        lock = os.open(incoming / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), (incoming / "lock").stat()):
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None


def _hold(incoming: Path) -> int:
    """Make the folder and lock it, one batch at a time, also from another process; returns the lock's descriptor."""
    while True:
        try:
            incoming.mkdir(parents=True, exist_ok=True)
            lock = os.open(incoming / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the batch before ours took its folder away in between
        except FileExistsError:  # it was there, and before that was looked at it was gone
            if _is_in_the_way(incoming):
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock), (incoming / "lock").stat()):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        # The batch that we waited for took this lock away with its folder: whoever comes now makes another.
        os.close(lock)


def _is_in_the_way(folder: Path) -> bool:
    """Has something else the folder's name?"""
    try:
        return not stat.S_ISDIR(folder.lstat().st_mode)
    except FileNotFoundError:
        return False


def _copy(source: Path, target: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as file, target.open("xb") as out:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            out.write(piece)
            advance(len(piece))
        out.flush()
        os.fsync(out.fileno())
    target.chmod(0o400)
    return digest.hexdigest()
