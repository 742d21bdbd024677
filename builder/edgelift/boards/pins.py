"""Which packages a board gets: `targets/device-PYTHON.txt`, a version and the digests of its wheels for each.

`scripts/device-constraints` writes these files from what `edgelift-agent` demands; nothing else is ever put on a board.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

import msgspec

from edgelift_contract.errors import ContractError, DeviceError

_FILE = re.compile(r"device-(3\.\d+)\.txt")
_LINE = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9.+!]+)((?: --hash=sha256:[0-9a-f]{64})+)")
_READ_BYTES = 1 << 20


class Pin(msgspec.Struct, frozen=True):
    """A package of exactly one version.

    Attributes:
        name: as package indexes normalise it.
        digests: SHA-256 of its wheels, in hexadecimal: one, or one a machine.
    """

    name: str
    version: str
    digests: tuple[str, ...]

    def line(self) -> str:
        """As pip reads it with `--require-hashes`."""
        return " ".join((f"{self.name}=={self.version}", *(f"--hash=sha256:{one}" for one in self.digests)))


def pythons() -> list[str]:
    """Versions of Python that there are pins for, as `3.11`, the oldest first."""
    names = (_FILE.fullmatch(file.name) for file in resources.files("edgelift_builder.targets").iterdir())
    return sorted((name[1] for name in names if name), key=lambda one: int(one.partition(".")[2]))


def load_pins(python: str) -> list[Pin]:
    """All that a board with this Python gets.

    Raises:
        DeviceError: `unsupported-platform` for a Python without pins, with those that have some.
    """
    file = resources.files("edgelift_builder.targets") / f"device-{python}.txt"
    if not file.is_file():
        raise DeviceError(
            "unsupported-platform", f"There are no packages pinned for Python {python}.",
            hint=f"Name one of {', '.join(pythons())}: what `python3 --version` says on the board.",
        )  # fmt: skip
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return [
        Pin(found[1], found[2], tuple(re.findall(r"[0-9a-f]{64}", found[3]))) for found in map(_matched, lines)
    ]


def _matched(line: str) -> re.Match[str]:
    if (found := _LINE.fullmatch(line)) is None:
        raise ContractError("malformed", f"This is no pin: {line}.")
    return found


def wheel_name(wheel: Path) -> tuple[str, str]:
    """Package, normalised, and version in a wheel's file name (PEP 427, PEP 503)."""
    name, version = wheel.name.split("-")[:2]
    return re.sub(r"[-_.]+", "-", name).lower(), version


def digest_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(_READ_BYTES):
            sha.update(piece)
    return sha.hexdigest()


def made_of(wheels: Iterable[Path]) -> list[Pin]:
    """Pins of these files, by name.

    Raises:
        ContractError: `conflict` where two of them are of different versions.
    """
    found: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, str] = {}
    for wheel in wheels:
        name, version = wheel_name(wheel)
        if versions.setdefault(name, version) != version:
            raise ContractError("conflict", f"{name} is there as {versions[name]} and as {version}.")
        found[name].add(digest_of(wheel))
    return [Pin(name, versions[name], tuple(sorted(found[name]))) for name in sorted(found)]


def dump_pins(python: str, wheels: Sequence[Path]) -> str:
    """A pins file of these wheels."""
    head = f"# What a device with Python {python} installs. Written by scripts/device-constraints; digests are of wheels.\n"
    return head + "".join(f"{pin.line()}\n" for pin in made_of(wheels))
