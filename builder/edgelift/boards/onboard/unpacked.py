"""The bundle's folder: what it is for, and that every file in it is the one that the host put there."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .said import Stopped

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.+/-]+)")
_SUMS, _ABOUT = "SHA256SUMS", "bundle.json"
#: Bounds what is read of a file that anybody may have written.
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Unpacked:
    """A bundle that is whole.

    Attributes:
        folder: of it.
        version: of the agent.
        name: of what it installs: the version, and what all of its files are.
    """

    folder: Path
    version: str
    name: str

    @property
    def token(self) -> Path:
        """By which the board enrols; it may be gone, once it did."""
        return self.folder / "token"


def look(folder: Path) -> Unpacked:
    """Read a bundle and check every file.

    Raises:
        Stopped: a file is missing, changed, or not of the bundle; it is for another Python or another machine.
    """
    sums = _read(folder / _SUMS)
    listed = dict(_entry(line) for line in sums.splitlines())
    if "token" in listed and not (folder / "token").exists():
        del listed["token"]  # it was used
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    found = {name for name in found if name != _SUMS and "__pycache__" not in name}
    if unlike := sorted(found ^ set(listed)):
        raise Stopped(
            f"The bundle is not whole: {unlike[0]} is {'missing' if unlike[0] in listed else 'not of it'}. Unpack it again."
        )
    for name, digest in sorted(listed.items()):
        path = folder / name
        if path.is_symlink() or _digest(path) != digest:
            raise Stopped(f"{name} is not what the host put there. Copy the bundle again, and unpack it anew.")
    about = _about(folder)
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if about["python"] != here:
        raise Stopped(f"The bundle is for Python {about['python']}, this is {here}.")
    if about["machine"] != platform.machine():
        raise Stopped(
            f"The bundle is for {about['target']} ({about['machine']}), and this is a {platform.machine()}."
            + (
                " It runs a 32-bit system: put a 64-bit one on it."
                if platform.machine() in ("armv7l", "armv6l")
                else ""
            )
        )
    # What is installed, whomever the bundle is for: a board's own configuration and token make no other version.
    of_all = "".join(f"{digest} {name}\n" for name, digest in sorted(listed.items()) if name.startswith("wheels/"))
    version = about["version"]
    return Unpacked(folder, version, f"{version}-{hashlib.sha256(of_all.encode()).hexdigest()[:12]}")


def _about(folder: Path) -> dict[str, str]:
    """What the bundle says of itself."""
    try:
        found = json.loads(_read(folder / _ABOUT))
        return {name: str(found[name]) for name in ("python", "machine", "target", "version")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Stopped(f"{_ABOUT} is not understood: {type(error).__name__}. Make the bundle anew.") from error


def _entry(line: str) -> tuple[str, str]:
    if (found := _LINE.fullmatch(line)) is None or ".." in found[2].split("/") or found[2].startswith("/"):
        raise Stopped(f"{_SUMS} has a line that is none of a bundle's: {line[:80]!r}.")
    return found[2], found[1]


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise Stopped(f"{path.name} can't be read: {error}. Unpack the bundle again.") from error


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_MAX_BYTES):
            sha.update(piece)
    return sha.hexdigest()
