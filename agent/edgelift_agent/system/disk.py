"""Every durable operation of the agent, in one place.

What the agent writes must survive a power cut at any point, so all of it is made of these few operations, in
the order: write to a temporary name → fsync → rename → fsync the folder. Nothing else in the agent opens a
file for writing, makes or removes a name, or writes a database (`tests/agent/test_disk.py` holds it). Tests
replace this class to kill the process, or to fail with ENOSPC, EIO or EROFS, at any operation
(`testing.FaultyDisk`).

Failures become `DeviceError`: `disk-full`, `read-only` or `disk-error`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from edgelift_contract.errors import DeviceError, disk_code

#: Codes of what a disk refuses.
REFUSALS = frozenset({"disk-full", "read-only", "disk-error"})


class Disk:
    """The real disk. `_act` is called with every operation's name before it acts, `_acted` after it.

    Attributes:
        on_refusal: told of every operation that the disk refused and its path, whoever asked for it, on any thread.
    """

    on_refusal: Callable[[DeviceError, Path], None] | None = None

    def _act(self, operation: str, path: Path) -> None:
        pass

    def _acted(self, operation: str, path: Path) -> None:
        pass

    @contextmanager
    def operation(self, operation: str, path: Path) -> Iterator[None]:
        """Whatever is done within is one operation: what the databases' owners write goes through here.

        Raises:
            DeviceError: as every operation here.
        """
        try:
            with mapped_errors(operation, path):
                self._act(operation, path)
                yield
                self._acted(operation, path)
        except DeviceError as error:
            if error.code in REFUSALS and self.on_refusal is not None:
                self.on_refusal(error, path)
            raise

    @contextmanager
    def open(self, path: Path, mode: Literal["ab", "wb"]) -> Iterator[BinaryIO]:
        """A file to append to, or to write from its beginning; made where there is none."""
        with self.operation("open", path):
            handle = path.open(mode)
        try:
            yield handle
        finally:
            with mapped_errors("close", path):
                handle.close()

    def write(self, handle: BinaryIO, data: bytes, path: Path) -> None:
        """Append `data` to an open file.

        Raises:
            DeviceError: as every operation here.
        """
        with self.operation("write", path):
            handle.write(data)

    def fsync(self, handle: BinaryIO, path: Path) -> None:
        """Make what was written to an open file durable."""
        with self.operation("fsync", path):
            handle.flush()
            os.fsync(handle.fileno())

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder its final name, and make the name durable."""
        with self.operation("rename", new):
            old.rename(new)
        self.fsync_folder(new.parent)

    def link(self, old: Path, new: Path) -> None:
        """A second name for a file; a copy where the file system has no links."""
        with self.operation("link", new):
            try:
                os.link(old, new)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV):
                    raise
                shutil.copyfile(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        with self.operation("unlink", path):
            path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and what is in it; one that is gone already is fine."""
        with self.operation("unlink", path):
            shutil.rmtree(path, ignore_errors=False) if path.exists() else None

    def remove(self, path: Path) -> None:
        """Remove whatever has this name, a file or a folder; what a link leads to stays."""
        with mapped_errors("look at", path):
            is_folder = path.is_dir() and not path.is_symlink()
        if is_folder:
            self.remove_tree(path)
        else:
            self.unlink(path)

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it; one that is there already is fine."""
        with mapped_errors("look at", path):
            if path.is_dir():
                return
        with self.operation("mkdir", path):
            path.mkdir(parents=True, exist_ok=True)

    def lock(self, folder: Path) -> int:
        """Keep a folder for this process until it ends; the descriptor that holds it.

        The folder itself is locked, so that nothing need be written: a full or read-only disk is no obstacle.

        Raises:
            DeviceError: `already-running`, or as every operation here.
        """
        with self.operation("lock", folder):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise DeviceError(
                    "already-running",
                    f"Another agent uses {folder}.",
                    hint="Stop it first, or choose another state_dir.",
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def fsync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        with self.operation("fsync", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def begin(self, connection: sqlite3.Connection, path: Path, what: str = "") -> None:
        """Begin a database transaction; `what` tells it from others on the same file."""
        with self.operation(f"begin {what}".rstrip(), path):
            connection.execute("BEGIN IMMEDIATE")

    def commit(self, connection: sqlite3.Connection, path: Path, what: str = "") -> None:
        """Commit a database transaction; with synchronous=FULL it is durable on return."""
        with self.operation(f"commit {what}".rstrip(), path):
            connection.commit()

    def write_file(self, path: Path, data: bytes, *, private: bool = False) -> None:
        """Put a whole file in place: either the old content or the new survives a power cut, never a mix.

        `private`: for its owner alone, from its first byte on.
        """
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with self.open(temporary, "wb") as handle:
                if private:
                    os.fchmod(handle.fileno(), 0o600)
                self.write(handle, data, temporary)
                self.fsync(handle, temporary)
            self.rename(temporary, path)
        except DeviceError:
            with suppress(DeviceError):
                self.unlink(temporary)  # what it took of a full disk is given back
            raise

    def free_bytes(self, path: Path) -> int:
        """Space that this process may still use below `path`, bytes."""
        with mapped_errors("statvfs", path):
            return shutil.disk_usage(path).free


#: What is not on any disk: for what must be written where no disk can be.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - only folders of our own are made in it, for ourselves alone


@contextmanager
def copied_to_memory(path: Path, *beside: Path) -> Iterator[Path]:
    """A folder in memory with copies of a file and of those beside it that are there; gone at the end.

    Raises:
        OSError: `path` can't be read, or there is no room for it.
    """
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="edgelift-", dir=base) as folder:
        shutil.copyfile(path, Path(folder) / path.name)
        for other in beside:
            with suppress(FileNotFoundError):
                shutil.copyfile(other, Path(folder) / other.name)
        yield Path(folder)


@contextmanager
def files_in_memory(files: Mapping[str, str], folders: Iterable[str]) -> Iterator[Path]:
    """A folder in memory with files of these texts, below folders of these names; gone at the end.

    Raises:
        OSError: there is no room for them.
    """
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="edgelift-", dir=base) as name:
        for folder in folders:
            (Path(name) / folder).mkdir()
        for file, text in files.items():
            (Path(name) / file).write_text(text)
        yield Path(name)


#: What SQLite's words mean; everything else is `disk-error`.
_DATABASE_CODES = {
    "full": "disk-full",
    "readonly": "read-only",
    "malformed": "state-damaged",
    "not a database": "state-damaged",
    "no such table": "state-damaged",
}


def database_code(error: sqlite3.Error) -> str:
    """The code of what SQLite refused: `disk-full`, `read-only`, `state-damaged` or `disk-error`."""
    text = str(error)
    return next((code for words, code in _DATABASE_CODES.items() if words in text), "disk-error")


@contextmanager
def mapped_errors(operation: str, path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into `DeviceError`s that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code, hint = database_code(error), ""
        if code == "disk-full":
            hint = "Free some space; what waits is tried again."
        raise DeviceError(code, f"The state database {path} could not be used: {error}.", hint=hint) from error
    except OSError as error:
        code = disk_code(error.errno)
        reason = os.strerror(error.errno) if error.errno else str(error)
        if code == "disk-full":
            text, hint = f"No space left to {operation} {path}.", "Free some space; the update is tried again."
        elif code == "read-only":
            text, hint = f"{path} cannot be written: {reason}.", "Mount it read-write, or mend its owner."
        else:
            text, hint = f"The disk failed to {operation} {path}: {reason}.", ""
        raise DeviceError(code, text, hint=hint) from error
