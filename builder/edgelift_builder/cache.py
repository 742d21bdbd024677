"""Steps' results, kept across builds by the content of everything that went into them.

A key is the digest of the source (its files, weights, data and what it answered), the steps so far with their
settings, the versions of the tools and edgelift's own code. So a hit is what running the step again would give,
a killed build goes on where it was, and nothing has to be invalidated. Entries appear and go whole, by a rename;
one whose files are not what was written is dropped. A cache that cannot be written costs time, not the build.

It lies in `$EDGELIFT_CACHE`, else `~/.cache/edgelift`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path

import msgspec

from edgelift_builder import ending
from edgelift_builder.piece import Piece
from edgelift_contract import codec

#: What the cache may hold, bytes; the entries used longest ago go first.
LIMIT_BYTES = 8 << 30

_ENTRY = "piece.json"
_TOOLS = (
    "torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "litert-torch", "ai-edge-quantizer", "ai-edge-litert",
    "torch-pruning", "numpy",
)  # fmt: skip


class _Entry(msgspec.Struct, frozen=True):
    piece: Piece
    digests: dict[str, str]


def root() -> Path:
    """Where the cache lies."""
    chosen = os.environ.get("EDGELIFT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "edgelift"


def find(key: str) -> Piece | None:
    """The piece kept under `key`, its files checked; None where there is none."""
    folder = root() / "steps" / key
    if not folder.exists():
        return None
    try:
        entry = msgspec.json.decode((folder / _ENTRY).read_bytes(), type=_Entry, dec_hook=_path)
        if any(_digest(folder / path) != digest for path, digest in entry.digests.items()):
            raise ValueError("changed")
        os.utime(folder)
    except (OSError, ValueError, msgspec.MsgspecError):
        _drop(folder)
        return None
    return replace(entry.piece, folder=folder)


def keep(piece: Piece) -> None:
    """Keep a piece under its key. Does nothing where it cannot: see above."""
    folder = root() / "steps" / piece.key
    fresh = _hidden(folder)
    with contextlib.suppress(OSError), ending.removed(fresh):
        fresh.mkdir(parents=True)
        for path, _ in piece.files:
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(piece.folder / path, fresh / path)  # onnx refuses weights that are a hard link
        digests = {path: _digest(fresh / path) for path, _ in piece.files}
        entry = _Entry(replace(piece, folder=Path()), digests)
        (fresh / _ENTRY).write_bytes(msgspec.json.encode(entry, enc_hook=str))
        _drop(folder)
        fresh.rename(folder)
        _trim(LIMIT_BYTES)


def _hidden(folder: Path) -> Path:
    """A name that no entry has, beside `folder`: `.<key>-<process>-<chance>`."""
    return folder.with_name(f".{folder.name[:16]}-{os.getpid()}-{secrets.token_hex(2)}")


def _drop(folder: Path) -> None:
    gone = _hidden(folder)
    with contextlib.suppress(OSError), ending.removed(gone):
        folder.rename(gone)


@functools.cache
def tools_digest() -> str:
    """Digest of the tools' versions and of this package's own files."""
    parts = [f"{name} {_version(name)}" for name in _TOOLS]
    root = Path(str(resources.files("edgelift_builder")))
    own = sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml"))
    parts += [f"{path.relative_to(root)} {codec.digest(path.read_bytes())}" for path in own]
    return codec.digest("\n".join(parts).encode())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _path(kind: type, value: object) -> object:
    return kind(value)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _trim(limit: int) -> None:
    """Drop the entries used longest ago beyond `limit` bytes, and what killed builds were at."""
    entries = []
    for path in (root() / "steps").iterdir():
        hidden = re.fullmatch(r"\..*-(\d+)-[0-9a-f]+", path.name)
        if hidden is None:
            entries.append(path)
        elif not ending.is_alive(int(hidden[1])) and int(hidden[1]) != os.getpid():
            shutil.rmtree(path, ignore_errors=True)
    by_age = sorted(entries, key=lambda p: p.stat().st_mtime, reverse=True)
    held = 0
    for entry in by_age:
        held += sum(p.stat().st_size for p in entry.rglob("*") if p.is_file())
        if held > limit:
            _drop(entry)
