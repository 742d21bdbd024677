"""One file for a board: what it installs, and as whom it comes to the control plane. Nothing in it is fetched on the board.

The archive of the same parts has the same bytes: times, owners and order are fixed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec

from edgelift.boards import pins
from edgelift.boards.agent_wheel import pack_agent
from edgelift.boards.wheels import fetch
from edgelift_builder.targets.pins import Pin, load_pins
from edgelift_contract import __version__
from edgelift_contract.errors import DeviceError, disk_code
from edgelift_contract.identity import EnrolToken, dump_token

#: Stands for the id of a board that is named on the board itself.
NAMELESS = "@DEVICE@"
_ONBOARD = ("__init__.py", "__main__.py", "said.py", "service.py", "trial.py", "unpacked.py", "versions.py", "run",
            "edgelift-agent.service", "edgelift.sysusers")  # fmt: skip

Progress = Callable[[str, int, int], None]


class BundleWanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is made of.

    Attributes:
        target: the board's everyday name, for people.
        machine: `aarch64` or `x86_64`.
        python: on the board, as `3.11`.
        device: its id; empty where each board names itself by its host name.
        tags: in the configuration.
        wheels, index_url: where packages come from, see `wheels.fetch`.
        agent: a wheel of the agent to carry in place of the one that is installed here.
    """

    target: str
    machine: str
    python: str
    device: str
    tags: dict[str, str] = {}
    wheels: Path | None = None
    index_url: str = ""
    agent: Path | None = None


class BundleMade(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's file.

    Attributes:
        path, size_bytes, sha256: of it.
        packages: how many.
    """

    path: str
    size_bytes: int
    sha256: str
    packages: int


def name_of(asked: BundleWanted) -> str:
    """The file's name, without its ending; also the folder's in it."""
    return "-".join(filter(None, ("edgelift-agent", __version__, asked.target, f"py{asked.python}", asked.device)))


def make_bundle(
    asked: BundleWanted, out: Path, enrolment: Callable[[], EnrolToken], progress: Progress
) -> BundleMade:
    """Write the bundle to `out`, a folder or a file's path, readable by its owner alone: a token is in it.

    Args:
        asked: what for.
        out: where.
        enrolment: makes the token by which boards enrol; asked once all else is there.
        progress: told what is done, bytes and bytes in all.

    Raises:
        ContractError: `not-found`, `digest-mismatch`. TransportError: `unreachable`.
        DeviceError: `unsupported-platform`, `tool-missing`, the disk refuses.
    """
    wanted = load_pins(asked.python)
    with tempfile.TemporaryDirectory(prefix="edgelift-bundle-") as folder:
        kept = Path(folder)
        progress("fetching wheels", 0, 1)
        wheels = fetch(
            [pin.line() for pin in wanted],
            asked.python,
            asked.machine,
            kept,
            wheels=asked.wheels,
            index_url=asked.index_url,
        )
        agent = asked.agent or pack_agent(kept)
        installed = [pin for pin in pins.made_of([*wheels, agent]) if pin.name != "pip"]
        files = {f"wheels/{wheel.name}": wheel for wheel in [*wheels, agent]}
        texts = _texts(asked, installed, enrolment())
        return _write(asked, out, files, texts, progress)


def _texts(asked: BundleWanted, installed: list[Pin], token: EnrolToken) -> dict[str, bytes]:
    """What is written into the bundle beside the wheels."""
    onboard = resources.files("edgelift.boards") / "onboard"
    about = {
        "version": __version__, "target": asked.target, "machine": asked.machine, "python": asked.python,
        "device": asked.device, "url": token.url,
    }  # fmt: skip
    texts = {f"onboard/{name}": (onboard / name).read_bytes() for name in _ONBOARD}
    texts |= {
        "install.sh": (onboard / "install.sh").read_bytes(),
        "python": f"{asked.python}\n".encode(),
        "bundle.json": (json.dumps(about, indent=2, sort_keys=True) + "\n").encode(),
        "requirements.txt": "".join(f"{pin.line()}\n" for pin in installed).encode(),
        "agent.toml": _configuration(asked, token.url).encode(),
        "token": f"{dump_token(token)}\n".encode(),
    }
    return texts


def _configuration(asked: BundleWanted, url: str) -> str:
    tags = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in sorted(asked.tags.items()))
    return (
        "# The agent's configuration; docs/configuration.md lists every field. Written by `edgelift device bundle`.\n"
        f"device = {json.dumps(asked.device or NAMELESS)}\n"
        'state_dir = "/var/lib/edgelift"\n'
        f"tags = {{ {tags} }}\n\n[host]\nurl = {json.dumps(url)}\n\n"
        '[serve]\nhost = "127.0.0.1"\nport = 8600\nunix_socket = "/run/edgelift/infer.sock"\n'
    )


def _write(
    asked: BundleWanted, out: Path, wheels: dict[str, Path], texts: dict[str, bytes], progress: Progress
) -> BundleMade:
    name = name_of(asked)
    target = out / f"{name}.tar.gz" if out.is_dir() else out
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in texts.items()}
    sums |= {path: pins.digest_of(file) for path, file in wheels.items()}
    texts = {"SHA256SUMS": "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode(), **texts}
    part = target.with_name(f".{target.name}.part")
    total = sum(file.stat().st_size for file in wheels.values())
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as raw,
            # Wheels are packed already: the quickest compression loses nothing.
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=1) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for path, data in sorted(texts.items()):
                archive.addfile(_entry(name, path, len(data)), io.BytesIO(data))
            for path, file in sorted(wheels.items()):
                progress("packing", raw.tell(), total)
                with file.open("rb") as opened:
                    archive.addfile(_entry(name, path, file.stat().st_size), opened)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DeviceError(disk_code(error.errno), f"{target} can't be written: {error.strerror}.") from error
    return BundleMade(
        path=str(target), size_bytes=target.stat().st_size, sha256=pins.digest_of(target), packages=len(wheels)
    )


def _entry(name: str, path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"{name}/{path}")
    entry.size, entry.mode = (
        size,
        0o755 if path in ("install.sh", "onboard/run") else 0o600 if path == "token" else 0o644,
    )
    return entry
