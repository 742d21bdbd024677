"""What a device trusts from one assignment to the next, in one file: so it is put in place by one rename, or not at all.

python-tuf keeps metadata as files in a folder and writes them one by one while it looks at each. That folder is made for
one look, in memory, from this file; only when everything held is this file written anew. A refusal leaves no trace.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_agent.system.disk import SHARED_MEMORY, Disk, mapped_errors
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
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema = 1
    files: Annotated[dict[FileName, str], Meta(max_length=2 * len(_ROLES))]
    nonce: Nonce
    nonce_before: Nonce = ""
    floor: Moment = 0.0
    floor_root: Annotated[int, Meta(ge=0, le=2**31)] = 0


class TrustedFile:
    """The file, and what was read from it once; from then on what this process knows counts."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Read it.

        Raises:
            DeviceError: `state-damaged` or the disk's: nothing may be trusted in its place, for that would let anybody in.
        """
        self._path, self._disk = path, disk
        self.content: Trusted | None = self._read()

    def _read(self) -> Trusted | None:
        with mapped_errors("read", self._path):
            try:
                data = self._path.read_bytes()
            except FileNotFoundError:
                return None
        try:
            return msgspec.json.decode(data, type=Trusted)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DeviceError(
                "state-damaged", f"{self._path} can't be read: {error}.", hint="Enrol this device again."
            ) from error

    def write(self, kept: Trusted) -> None:
        """Put this in place of what was kept.

        Raises:
            DeviceError: the disk's; what was kept before counts on.
        """
        self._disk.write_file(self._path, codec.canonical_json(kept))
        self.content = kept

    def mend(self) -> None:
        """Write it once more where somebody took the file away. Raises DeviceError: the disk's."""
        if self.content is not None and not self._path.exists():
            log.error("%s was removed under this agent; it is written again", self._path)
            self.write(self.content)


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
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with (
        mapped_errors("use", base or Path(tempfile.gettempdir())),
        tempfile.TemporaryDirectory(prefix="edgelift-trust-", dir=base) as name,
    ):
        folder = Path(name)
        for repository in (DIRECTOR, IMAGE):
            (folder / repository).mkdir()
        for file, text in kept.files.items():
            (folder / file).write_text(text)
        yield folder


def folded(folder: Path) -> dict[str, str]:
    """What of such a folder is to be kept: the four top-level roles of each repository."""
    names = [f"{repository}/{role}" for repository in (DIRECTOR, IMAGE) for role in _ROLES]
    return {name: (folder / name).read_text() for name in names if (folder / name).is_file()}
