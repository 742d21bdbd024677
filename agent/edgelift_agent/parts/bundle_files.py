"""What a bundle holds: each file made for itself, so that one that can't be made costs only itself, and says why.

Everything is made in memory and within bounds: a full or read-only disk is no obstacle, and is what a bundle is often
asked for. No secret is in it: fields are judged by their names, and all of it is searched for those that are known.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.config import Config
from edgelift_agent.system.recent_log import RecentLog
from edgelift_agent.system.secrets import scrubbed, without_secrets
from edgelift_contract import __version__
from edgelift_contract.bundle import MAX_FILES, BundleAbout, pack
from edgelift_contract.errors import ContractError
from edgelift_contract.fitting import fit

#: Of the log, and of each other file, bytes; all together far below what a bundle may hold.
LOG_BYTES = 1 << 20
OTHER_BYTES = 256 * 1024
#: Files and folders that are listed at most.
LISTED = 2000
#: Packages whose versions are told: what the agent and its runtimes are made of.
PACKAGES = (
    "edgelift", "msgspec", "numpy", "orjson", "paho-mqtt", "psutil", "urllib3", "uvicorn", "httptools",
    "onnxruntime", "onnxruntime-gpu", "ai-edge-litert", "torch",
)  # fmt: skip
_READ_OF_PROC = ("meminfo", "loadavg", "cpuinfo", "mounts", "uptime", "version")


class BundleFiles:
    """Makes bundles of one agent."""

    def __init__(
        self,
        config: Config,
        log: RecentLog,
        sources: Mapping[str, Callable[[], Any]],
        secrets: Callable[[], Iterable[str]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Bind.

        Args:
            config: the agent's.
            log: its last lines.
            sources: file's name → what gives what is in it, plain JSON or structs; called for each bundle.
            secrets: those that are known.
            now: the wall clock, seconds since 1970.
        """
        self._config, self._log, self._secrets, self._now = config, log, secrets, now
        self._sources: dict[str, Callable[[], bytes]] = {
            "agent.log": lambda: log.read(LOG_BYTES),
            "config.json": lambda: _json(without_secrets(msgspec.to_builtins(config))),
            "versions.json": lambda: _json(versions()),
            "system.txt": _system,
            "folder.txt": lambda: "\n".join(islice(listing(Path(config.state_dir)), LISTED)).encode(),
            **{name: _as_json(source) for name, source in sources.items()},
        }
        assert len(self._sources) < MAX_FILES

    def make(self, bundle: str) -> bytes:
        """The bundle of this id.

        Raises:
            ContractError: `too-large`, which its bounds keep it from.
        """
        files, missing = self._collect()
        for share in (1, 2, 8, 1024):  # of what hardly compresses, less
            about = BundleAbout(
                schema=BundleAbout.SCHEMA, device=self._config.device, bundle=bundle, made_at=self._now(),
                agent_version=__version__, missing=missing,
            )  # fmt: skip
            try:
                return pack(fit(about), {name: data[-(len(data) // share) :] for name, data in files.items()})
            except ContractError as error:
                if error.code != "too-large" or share == 1024:
                    raise
        raise AssertionError

    def _collect(self) -> tuple[dict[str, bytes], dict[str, str]]:
        files: dict[str, bytes] = {}
        missing: dict[str, str] = {}
        secrets = list(self._secrets())
        for name, source in self._sources.items():
            try:
                data = source()
            except Exception as error:  # noqa: BLE001 - what can't be told is left out, and why is told
                missing[name] = scrubbed(f"{type(error).__name__}: {error}".encode(), secrets).decode(
                    "utf-8", "replace"
                )
                continue
            limit = LOG_BYTES if name == "agent.log" else OTHER_BYTES
            if len(data) > limit:
                missing[name] = f"Only the last {limit} of {len(data)} bytes are here."
            files[name] = scrubbed(data[-limit:], secrets)
        return files, missing


def _as_json(source: Callable[[], Any]) -> Callable[[], bytes]:
    return lambda: _json(without_secrets(msgspec.to_builtins(source(), str_keys=True)))


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1)


def versions() -> dict[str, Any]:
    """Of the agent, Python and the packages that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "agent": __version__, "python": platform.python_version(), "machine": platform.machine(),
        "system": platform.platform(), "packages": found,
    }  # fmt: skip


def _system() -> bytes:
    """What the kernel says of memory, load, processors and mounts."""
    pieces = []
    for name in _READ_OF_PROC:
        try:
            text = (Path("/proc") / name).read_bytes()[:16384]
        except OSError as error:
            text = f"{error}".encode()
        pieces += [f"--- /proc/{name}".encode(), text.rstrip()]
    return b"\n".join(pieces) + b"\n"


def listing(folder: Path) -> Iterator[str]:
    """Lines with size, time of change and path of everything in a folder; what can't be read says so."""
    for place, folders, names in os.walk(folder, onerror=None):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            try:
                found = path.lstat()
                told = f"{found.st_size:>12} {time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(found.st_mtime))}"
            except OSError as error:
                told = f"({error.strerror})"
            yield f"{told} {path.relative_to(folder)}".encode("utf-8", "backslashreplace").decode()
