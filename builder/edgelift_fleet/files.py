"""Durable writes, and what the disk's refusals mean.

Write to a temporary name, fsync, rename, fsync the folder: after a power cut a file is whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelift_contract.errors import DeviceError, disk_code


def disk_error(error: OSError, what: str) -> DeviceError:
    """What a person should read when the disk refused `what`, as in "the blob store"."""
    reason = (error.strerror or str(error)).lower()
    code = disk_code(error.errno)
    if code == "disk-full":
        return DeviceError("disk-full", f"There is no space left for {what}.", hint="Free some and run it again.")
    if code == "read-only":
        return DeviceError(
            "read-only", f"{_upper(what)} cannot be written: {reason}.", hint="Check its permissions."
        )
    return DeviceError("disk-error", f"{_upper(what)} cannot be used: {reason}.")


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn an `OSError` inside into a `DeviceError`: `disk-full`, `read-only` or `disk-error`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, what) from error


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, whole or not at all; raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_private(path: Path) -> None:
    """Make an empty file that is its owner's alone, where there is none; SQLite gives its logs the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # it is there, or can't be made: opening it says which


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
