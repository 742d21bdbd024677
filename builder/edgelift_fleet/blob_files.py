"""Files that are named by their digests: what of one can be judged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from edgelift_contract.errors import ContractError

PIECE_BYTES = 1 << 20
#: Where `scrub` sets damaged blobs aside, beside the others.
DAMAGED = ".damaged"


def check_size(source: Path, size_bytes: int, what: str) -> None:
    """Is the file there, with so many bytes? Raises ContractError `missing-blob`, `size-mismatch`."""
    if not source.is_file():
        raise ContractError("missing-blob", f"{what} is missing: there is no file {source.name[:12]}….")
    found = source.stat().st_size
    if found != size_bytes:
        raise ContractError(
            "size-mismatch",
            f"{what} has {found} bytes; its manifest says {size_bytes}.",
            hint="Build the release again, or copy it again in full.",
        )


def check_digest(found: str, sha256: str, what: str) -> None:
    """Is it what its name says? Raises ContractError `digest-mismatch`."""
    if found != sha256:
        raise ContractError(
            "digest-mismatch",
            f"{what} was altered: its SHA-256 is {found[:12]}…, its manifest says {sha256[:12]}….",
            hint="Build the release again, or copy it again.",
        )


def hash_file(source: Path, advance: Callable[[int], None]) -> str:
    """The file's SHA-256 in hex; `advance` is told how many bytes were read."""
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()


def is_whole(path: Path) -> bool:
    """Is the file there, readable, and what its name says?"""
    try:
        return hash_file(path, lambda _: None) == path.name
    except OSError:
        return False
