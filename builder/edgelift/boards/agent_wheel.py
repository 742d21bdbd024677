"""The agent as a wheel, from what is installed here: a board gets the very release that its host speaks for.

No index has to know it, and what a checkout has installed goes the same way. The same files give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from importlib import metadata
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from edgelift_contract.errors import DeviceError

DISTRIBUTION = "edgelift-agent"
_PACKAGES = ("edgelift_contract", "edgelift_agent")
#: The earliest time that a ZIP file can tell.
_TIME = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: edgelift\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack_agent(folder: Path) -> Path:
    """Write the wheel of the installed agent to a folder; returns its path.

    Raises:
        DeviceError: `tool-missing` where the agent is not installed as a distribution.
    """
    try:
        installed = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise DeviceError(
            "tool-missing", f"{DISTRIBUTION} is not installed here: there is no agent to hand out.",
            hint="Install edgelift's host wheel with it; in a checkout: scripts/setup.",
        ) from error  # fmt: skip
    name = f"edgelift_agent-{installed.version}"
    files: dict[str, bytes] = {}
    for package in _PACKAGES:
        top = _folder_of(package)
        for path in sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files[f"{package}/{path.relative_to(top).as_posix()}"] = path.read_bytes()
    info = f"{name}.dist-info"
    for part in ("METADATA", "entry_points.txt"):
        files[f"{info}/{part}"] = (installed.read_text(part) or "").encode()
    files[f"{info}/licenses/LICENSE"] = (installed.read_text("licenses/LICENSE") or "").encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    record = "".join(f"{path},sha256={_short(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-py3-none-any.whl"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for path_in, data in files.items():
            entry = ZipInfo(path_in, _TIME)
            entry.external_attr, entry.compress_type = 0o644 << 16, ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def _folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise DeviceError("tool-missing", f"{package} is not installed here.")
    return Path(found.origin).parent


def _short(data: bytes) -> str:
    """As RECORD has it: base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
