"""The file of a backup: a tar whose last members are its manifest and the manifest's SHA-256.

It is written under another name, which its own process holds locked, and gets its own when it is whole and on the disk:
a process that was killed leaves a `.part`, and the next backup into the folder takes it away. Read, everything is held
against the manifest; nothing is unpacked by the names that the tar gives.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_fleet.files import disk_errors, sync_folder
from edgelift_fleet.messages.keeping import BackupManifest, BackupPart

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
#: A manifest lists each blob and each part of a table: 200 bytes each, so far more than any site has.
MAX_MANIFEST_BYTES = 256 << 20
_PIECE_BYTES = 1 << 20
_PART = ".part"


class ArchiveWriter:
    """Members go in one after the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(
            fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_PIECE_BYTES
        )  # `finish` ends it

    def add(self, name: str, data: bytes) -> BackupPart:
        """A member of these bytes."""
        return self.stream(name, len(data), [data])

    def stream(self, name: str, size_bytes: int, pieces: Iterable[bytes]) -> BackupPart:
        """A member of `size_bytes` that come in pieces; raises ContractError `size-mismatch` when fewer or more come."""
        source = _Pieces(iter(pieces))
        info = tarfile.TarInfo(name)
        info.size, info.mode = size_bytes, 0o600
        try:
            self._tar.addfile(info, source)
        except (EOFError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise _odd_size(name) from error
        if source.more():
            raise _odd_size(name)
        return BackupPart(name, size_bytes, source.digest.hexdigest())

    def finish(self, manifest: BackupManifest) -> None:
        """Add the manifest: what a file lacks that was not written to its end."""
        data = codec.canonical_json(manifest)
        self.add(MANIFEST, data)
        self.add(DIGEST, codec.digest(data).encode())
        self._tar.close()


def _odd_size(name: str) -> ContractError:
    return ContractError("size-mismatch", f"{name} changed while it was read.", hint="Run it again.")


class _Pieces:
    """Pieces of bytes as a file to read from, hashed on the way."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        given, self._rest = self._rest[:size], self._rest[size:]
        self.digest.update(given)
        return given

    def more(self) -> bool:
        """Is something left?"""
        return bool(self._rest or next(self._pieces, b""))


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """The archive `path`, which is there at the end of the block, whole, its owner's alone; or not at all.

    Raises:
        ContractError: `conflict` when there is such a file.
        DeviceError: `disk-full`, `read-only`, `disk-error`.
    """
    with disk_errors(f"the backup {path}"):
        _refuse_existing(path)
        refuse_file_above(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(path.parent)
        part = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield ArchiveWriter(file)
                file.flush()
                os.fsync(file.fileno())
                _refuse_existing(path)
                part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)


def _refuse_existing(path: Path) -> None:
    if path.name == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
        raise ContractError(
            "conflict", f"A backup can't be written to {path}, where nobody could take back one that failed.",
            hint="Name a new file, and send that on.",
        )  # fmt: skip
    if path.is_dir():
        raise ContractError("conflict", f"{path} is a folder.", hint=f"Name a new file in it: {path}/site.tar.")
    if path.exists() or path.is_symlink():
        raise ContractError("conflict", f"There is a file {path} already.", hint="Name another one.")


def refuse_file_above(path: Path) -> None:
    """Raises ContractError `conflict` where one of the folders that a new file is to be in is a file."""
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise ContractError(
            "conflict", f"{above} is a file, so nothing can be made in it.", hint="Name another place."
        )


def _sweep(folder: Path) -> None:
    """Take away what backups that were killed left behind: nobody holds it."""
    for left in folder.glob(f".*{_PART}"):
        try:
            with left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
        except OSError:
            continue  # another backup is being written, or it is another user's


class Archive:
    """A backup that is read. `manifest` was held against its digest."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        """Find the members; raises as `open_archive`."""
        self.path, self._tar = path, tar
        try:
            self._members = {member.name: member for member in tar if member.isreg()}
        except (tarfile.TarError, EOFError) as error:
            raise _cut(path) from error
        if MANIFEST not in self._members or DIGEST not in self._members:
            raise _cut(path)
        if self._members[MANIFEST].size > MAX_MANIFEST_BYTES:
            raise ContractError("too-large", f"The manifest of the backup {path} is too large.")
        self._refuse_more()
        data, digest = self._bytes(MANIFEST), self._bytes(DIGEST)
        if codec.digest(data).encode() != digest:
            raise _damaged(path, "its manifest")
        self.manifest = _understood(path, data)

    def data(self, part: BackupPart) -> bytes:
        """A member's bytes; raises ContractError `digest-mismatch` or `cut-short`."""
        return b"".join(self.pieces(part))

    def pieces(self, part: BackupPart) -> Iterator[bytes]:
        """A member in pieces; what was given is right only once the last one was. Raises as `data`."""
        member = self._members.get(part.name)
        if member is None or member.size != part.size_bytes:
            raise _damaged(self.path, part.name)
        digest = hashlib.sha256()
        for piece in self._read(member):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != part.sha256:
            raise _damaged(self.path, part.name)

    def _refuse_more(self) -> None:
        """A tar ends with zeros, and a backup with its tar: what follows may be another backup, and which is meant?"""
        end = self._tar.offset
        with self.path.open("rb") as file:
            file.seek(end)
            while piece := file.read(_PIECE_BYTES):
                if piece.strip(b"\0"):
                    raise ContractError(
                        "malformed", f"Something follows the end of the backup {self.path}.",
                        hint=f"Take the first {end} bytes of it: head -c {end}.",
                    )  # fmt: skip

    def _bytes(self, name: str) -> bytes:
        return b"".join(self._read(self._members[name]))

    def _read(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(member)
        assert file is not None
        left = member.size
        while left:
            try:
                piece = file.read(min(left, _PIECE_BYTES))
            except (tarfile.TarError, EOFError) as error:
                raise _cut(self.path) from error
            if not piece:
                raise _cut(self.path)
            left -= len(piece)
            yield piece


def _understood(path: Path, data: bytes) -> BackupManifest:
    class Schema(msgspec.Struct):
        format: str
        schema: int
        version: str = ""

    try:
        said = msgspec.json.decode(data, type=Schema)
        if said.format == "edgelift-backup" and said.schema > BackupManifest.SCHEMA:
            raise ContractError(
                "unknown-schema",
                f"The backup {path} has schema {said.schema}, made by edgelift {said.version};"
                f" this program reads schema {BackupManifest.SCHEMA}.",
                hint=f"Install edgelift {said.version} or newer, and restore with that.",
            )
        return msgspec.json.decode(data, type=BackupManifest)
    except msgspec.MsgspecError as error:
        raise ContractError("malformed", f"The manifest of the backup {path} can't be read: {error}.") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """A backup, for reading.

    Raises:
        ContractError: `not-found`, `malformed` for what is none, `cut-short`, `digest-mismatch`, `unknown-schema`.
        DeviceError: `read-only` where it may not be read, `disk-error`.
    """
    with disk_errors(f"the backup {path}"):
        if path.exists() and not path.is_file():
            raise ContractError(
                "malformed",
                f"{path} is no file; a backup is read more than once.",
                hint="Copy it into a file first.",
            )
        if not path.is_file():
            raise ContractError("not-found", f"There is no backup {path}.", hint="Make one: edgelift backup.")
        try:
            tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed below
        except tarfile.ReadError as error:
            if path.stat().st_size < tarfile.BLOCKSIZE:
                raise _cut(path) from error
            raise ContractError("malformed", f"{path} is not a backup of edgelift.") from error
        with tar:
            yield Archive(path, tar)


def _cut(path: Path) -> ContractError:
    return ContractError(
        "cut-short", f"The backup {path} ends too early.", hint="Copy it again in full, or take another backup."
    )


def _damaged(path: Path, what: str) -> ContractError:
    return ContractError(
        "digest-mismatch", f"The backup {path} is damaged: {what} is not what was written.",
        hint="Copy it again, or take another backup.",
    )  # fmt: skip
