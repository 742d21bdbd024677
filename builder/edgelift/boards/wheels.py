"""Wheels for another machine than this one, by pip: from an index, a mirror or a folder; each file's digest is checked."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgelift_contract.errors import ContractError, DeviceError, TransportError

#: Of the oldest systems' C library, JetPack 6's Ubuntu 22.04 (2.35): wheels built for it or an older one run on all.
_GLIBC_MINOR = 35
#: Words of pip's by which a failure is the network's.
_NETWORK = (
    "NewConnectionError",
    "ConnectTimeout",
    "Read timed out",
    "Temporary failure",
    "Connection",
    "SSLError",
    "ProxyError",
)


def platform_tags(machine: str) -> list[str]:
    """Names that wheels for Linux on this machine (`aarch64`, `x86_64`) go by; see PEP 600."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_MINOR, 4, -1)]
    return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


def fetch(
    requirements: Sequence[str],
    python: str,
    machine: str,
    folder: Path,
    *,
    wheels: Path | None = None,
    index_url: str = "",
) -> list[Path]:
    """Bring exactly these packages' wheels to a folder, nothing that they depend on.

    Args:
        requirements: lines as `numpy==2.4.6 --hash=sha256:…`; with a digest in one, all must have theirs.
        python: as `3.11`.
        machine: `aarch64` or `x86_64`.
        folder: where they are put.
        wheels: a folder to take them from, in place of any index.
        index_url: an index in the place of the one that pip is set up for.

    Returns:
        The files.

    Raises:
        TransportError: `unreachable`, the index is not. ContractError: `not-found` for a wheel that isn't there,
        `digest-mismatch`. DeviceError: `tool-missing` without pip.
    """
    if importlib.util.find_spec("pip") is None:
        raise DeviceError(
            "tool-missing", f"pip, which fetches wheels, is not installed beside {sys.executable}.",
            hint="Install it there (uv tool install --with pip edgelift).",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in requirements))
        file.flush()
        command = [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--no-deps",
            "--only-binary=:all:", "--dest", str(folder), "--implementation", "cp", "--python-version", python,
        ]  # fmt: skip
        command += [word for tag in platform_tags(machine) for word in ("--platform", tag)]
        if wheels is not None:
            command += ["--no-index", "--find-links", str(wheels)]
        if index_url:
            command += ["--index-url", index_url]
        done = subprocess.run([*command, "-r", file.name], capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise _failed(done.stderr, wheels)
    return sorted(folder.glob("*.whl"))


def _failed(said: str, wheels: Path | None) -> Exception:
    """Pip's words as one of ours."""
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    what = lines[-1] if lines else (said.strip().splitlines() or ["pip said nothing"])[-1]
    if "DO NOT MATCH THE HASHES" in said:
        return ContractError(
            "digest-mismatch", f"A wheel is not the one that is pinned: {' '.join(said.split())[-400:]}",
            hint="What was fetched is not used. Look where it came from.",
        )  # fmt: skip
    if any(word in said for word in _NETWORK):
        return TransportError("unreachable", f"The package index does not answer: {what}.")
    where = f"In {wheels} a wheel is missing" if wheels else "The package index lacks a wheel"
    return ContractError(
        "not-found", f"{where}: {what}.", hint="Name a folder or an index that has it: --wheels, --index-url."
    )
