"""Writing to a stick what devices are to take from it: each file whole or not there, what is there and right kept.

The stick may be anybody's: no link on it is followed, and no file of it is written over in place.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgelift_contract.carried import BLOBS, DEVICES, TOP, blob_name, signed_name
from edgelift_contract.errors import ContractError, DeviceError, disk_code

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 1 << 20


class Stick:
    """A folder to be carried; see `edgelift_contract.carried`."""

    def __init__(self, folder: Path) -> None:
        """Make its folders.

        Raises:
            ContractError: `bad-path` for a link in a folder's place. DeviceError: the stick refuses.
        """
        self._folder = folder
        with self._refusals():
            for name in (TOP, DEVICES, BLOBS):
                with suppress(FileExistsError):
                    (folder / name).mkdir(parents=name == TOP)
                if not stat.S_ISDIR((folder / name).lstat().st_mode):
                    raise ContractError("bad-path", f"{folder / name} is a link, or no folder.", hint="Remove it.")

    def has_blob(self, sha256: str, size_bytes: int) -> bool:
        """Is the file there, and what its name says? Reads it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._folder / blob_name(sha256), flags)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
                return False
            sha = hashlib.sha256()
            try:
                while piece := file.read(_PIECE_BYTES):
                    sha.update(piece)
            except OSError:
                return False  # a worn place of the stick: it is written anew
        return sha.hexdigest() == sha256

    def check_space(self, size_bytes: int) -> None:
        """Is there room for so much more? Raises DeviceError `disk-full`."""
        with self._refusals():
            found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if size_bytes > free:
            raise DeviceError(
                "disk-full",
                f"{self._folder} has {free / 1e6:.1f} MB free; {size_bytes / 1e6:.1f} MB more are needed.",
                hint="Take a larger stick, or remove what is on it.",
            )

    def put_blob(
        self, sha256: str, size_bytes: int, pieces: Iterable[bytes], advance: Callable[[int], None]
    ) -> None:
        """Write a file, once all of it came and is what its name says.

        Raises:
            ContractError: `digest-mismatch`. DeviceError: the stick refuses, `disk-full` above all.
        """
        self._put(blob_name(sha256), _judged(sha256, size_bytes, pieces, advance))

    def put_signed(self, device: str, data: bytes) -> Path:
        """Write a device's signed metadata, last of all; returns where. Raises as `put_blob`."""
        self._put(signed_name(device), [data])
        return self._folder / signed_name(device)

    def _put(self, name: str, pieces: Iterable[bytes]) -> None:
        target = self._folder / name
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        with self._refusals():
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)
            except BaseException:
                with suppress(OSError):
                    part.unlink()
                raise
            _sync(target.parent)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            code = disk_code(error.errno)
            if code == "disk-full":
                raise DeviceError(
                    code, f"{self._folder} is full, or its file system takes no file of this size: {error.strerror}.",
                    hint="Take a larger stick; FAT takes no file above 4 GB, exFAT and ext4 do.",
                ) from error  # fmt: skip
            raise DeviceError(code, f"{self._folder} can't be written: {error.strerror}.") from error


def _judged(
    sha256: str, size_bytes: int, pieces: Iterable[bytes], advance: Callable[[int], None]
) -> Iterator[bytes]:
    """The pieces; at their end they are what the name says, or it raises."""
    sha, count = hashlib.sha256(), 0
    for piece in pieces:
        sha.update(piece)
        count += len(piece)
        advance(len(piece))
        yield piece
    if count != size_bytes or sha.hexdigest() != sha256:
        raise ContractError("digest-mismatch", f"{sha256[:12]}… did not come as what it is.", hint="Try again.")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems of sticks can't, and need not
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
