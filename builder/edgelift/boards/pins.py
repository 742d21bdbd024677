"""Pins of files that lie in a folder: what a bundle holds, and what `scripts/device-constraints` writes down."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgelift_builder.targets.pins import Pin
from edgelift_contract.errors import ContractError

_READ_BYTES = 1 << 20


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
