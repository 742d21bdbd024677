"""What a device trusts from one assignment to the next, in one file: so it is put in place by one rename, or not at all.

python-tuf keeps metadata as files in a folder and writes them one by one while it looks at each. That folder is made for
one look, in memory, from this file; only when everything held is this file written anew. A refusal leaves no trace.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_agent.system.disk import SHARED_MEMORY, Disk, files_in_memory, mapped_errors
from edgelift_contract import codec
from edgelift_contract.bounds import Moment, Schema
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.ids import Nonce
from edgelift_contract.signed import DIRECTOR, IMAGE, FileName

log = logging.getLogger(__name__)

#: What is kept of each repository: python-tuf needs no more to refuse what is older. Delegated roles come with each
#: assignment, and what is older among them is refused by the snapshot.
_ROLES = ("root.json", "timestamp.json", "snapshot.json", "targets.json")


class Trusted(msgspec.Struct, frozen=True, kw_only=True):
    """What is trusted.

    Attributes:
        files: `image/root.json` and the like → their text.
        nonce: told to the control plane with each poll and report, to be signed into what it answers.
        nonce_before: the last one that was answered; it counts until the new one has been told.
        floor: the latest time that was signed for this device, seconds since 1970: it can't be earlier than that.
        floor_root: the version of the director's root by which it was signed.
        heard_at: what this device's own clock showed when the last fresh answer came; 0 for never.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema = 1
    files: Annotated[dict[FileName, str], Meta(max_length=2 * len(_ROLES))]
    nonce: Nonce
    nonce_before: Nonce = ""
    floor: Moment = 0.0
    floor_root: Annotated[int, Meta(ge=0, le=2**31)] = 0
    heard_at: Moment = 0.0


class TrustedFile:
    """The file and a second one beside it, and what was read of them once; from then on what this process knows counts.

    Attributes:
        content: what is trusted; None while nobody is.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read it, or the second one where it is gone or can't be read.

        Raises:
            DeviceError: `state-damaged` or the disk's: nothing may be trusted in its place, for that would let anybody in.
        """
        self._path, self._second, self._disk = path, path.with_name(f"second-{path.name}"), disk
        self._stands: dict[Path, tuple[int, ...]] = {}
        self._lock = threading.RLock()  # who mends must not take a file for a stranger's that is being written
        self.content: Trusted | None = self._read_either()

    def _read_either(self) -> Trusted | None:
        try:
            found, fault = self._read(self._path), None
        except DeviceError as error:
            found, fault = None, error
        if found is None:
            found = self._read(self._second) if fault is None else self._read_after(fault)
            if found is not None:
                log.error("%s can't be read or is gone; %s says whom to trust", self._path, self._second.name)
            return found
        with suppress(DeviceError):
            if self._read(self._second) != found:
                self._stands.pop(self._second, None)  # a power cut came between the two
        return found

    def _read_after(self, fault: DeviceError) -> Trusted | None:
        try:
            found = self._read(self._second)
        except DeviceError:
            raise fault from None
        if found is None:
            raise fault
        return found

    def _read(self, path: Path) -> Trusted | None:
        with mapped_errors("read", path):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            found = msgspec.json.decode(data, type=Trusted)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DeviceError(
                "state-damaged", f"{path} can't be read: {error}.",
                hint=f"Take {self._path.name} and {self._second.name} away and start the agent again: it then trusts"
                " whom it is enrolled with.",
            ) from error  # fmt: skip
        self._stands[path] = _which(path)
        return found

    def write(self, kept: Trusted) -> None:
        """Put this in place of what was kept.

        Raises:
            DeviceError: the disk's; what was kept before counts on.
        """
        with self._lock:
            self._put(self._path, kept)
            self.content = kept
            try:
                self._put(self._second, kept)
            except DeviceError as error:
                log.error("%s", error)  # the first one stands; `mend` tries again, and tells

    def hold(self, first: Trusted) -> None:
        """Trust this from now on, and write it where the disk allows it.

        Raises:
            DeviceError: the disk's; it is trusted nevertheless, and written by `mend`.
        """
        self.content = first
        self.write(first)

    def mend(self) -> None:
        """Write once more what somebody took away, emptied or replaced, or what a disk did not take.

        Raises:
            DeviceError: the disk's.
        """
        with self._lock:
            if self.content is None:
                return
            for path in (self._path, self._second):
                if self._stands.get(path) != _which(path):
                    log.error("%s is not what this agent wrote; it is written again", path)
                    self._put(path, self.content)

    def _put(self, path: Path, kept: Trusted) -> None:
        self._stands.pop(path, None)
        with mapped_errors("look at", path):
            is_folder = path.is_dir() and not path.is_symlink()
        if is_folder:
            self._disk.rename(path, path.with_name(f"{path.name}.damaged"))
        self._disk.write_file(path, codec.canonical_json(kept))
        self._stands[path] = _which(path)


def _which(path: Path) -> tuple[int, ...]:
    """What tells a file from what may come in its place, or be made of it; nothing where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode


def first(roots: Mapping[str, str]) -> Trusted:
    """What is trusted at the beginning: the roots of both repositories, by whom the device was enrolled.

    Raises:
        ContractError: `metadata-wrong` when one of them is missing.
    """
    if missing := [name for name in (DIRECTOR, IMAGE) if not roots.get(name)]:
        raise ContractError("metadata-wrong", f"The enrolment lacks the root of the {missing[0]} repository.")
    return Trusted(files={f"{name}/root.json": roots[name] for name in (DIRECTOR, IMAGE)}, nonce=new_nonce())


def new_nonce() -> str:
    """128 bits that nobody can foresee."""
    return secrets.token_hex(16)


@contextmanager
def unfolded(kept: Trusted) -> Iterator[Path]:
    """The kept files as python-tuf reads and writes them, in a folder in memory that is gone at the end.

    Raises:
        DeviceError: there is no room for them.
    """
    with mapped_errors("use", SHARED_MEMORY), files_in_memory(kept.files, (DIRECTOR, IMAGE)) as folder:
        yield folder


def folded(folder: Path) -> dict[str, str]:
    """What of such a folder is to be kept: the four top-level roles of each repository."""
    names = [f"{repository}/{role}" for repository in (DIRECTOR, IMAGE) for role in _ROLES]
    return {name: (folder / name).read_text() for name in names if (folder / name).is_file()}
