"""Which packages a board gets: `device-PYTHON.txt` beside this file, a version and the digests of its wheels for each.

`scripts/device-constraints` writes these files from what `edgelift-agent` demands. Bundles for boards install nothing
else, and what is built for a target must be something that the runtime of its Python can load.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

import msgspec

from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import RuntimeName

_FILE = re.compile(r"device-(3\.\d+)\.txt")
_LINE = re.compile(r"([a-z0-9-]+)==([A-Za-z0-9.+!]+)((?: --hash=sha256:[0-9a-f]{64})+)")
#: TorchScript's is whatever torch somebody put onto the board.
_PACKAGES: dict[RuntimeName, str] = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}


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


@functools.cache
def load_pins(python: str) -> tuple[Pin, ...]:
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
    return tuple(
        Pin(found[1], found[2], tuple(re.findall(r"[0-9a-f]{64}", found[3]))) for found in map(_matched, lines)
    )


def _matched(line: str) -> re.Match[str]:
    if (found := _LINE.fullmatch(line)) is None:
        raise ContractError("malformed", f"This is no pin: {line}.")
    return found


def runtime_there(python: str, runtime: RuntimeName) -> str:
    """Version of a runtime's package on a board with this Python; empty where none is pinned."""
    package = _PACKAGES.get(runtime, "")
    return next((pin.version for pin in load_pins(python) if pin.name == package), "")


def too_old(pythons: list[str], runtime: RuntimeName, runtime_range: str) -> dict[str, str]:
    """Pythons of a target whose runtime can't load what wants `>=1.24` of it: Python → the version that it has."""
    oldest = re.search(r">=(\d+)\.(\d+)", runtime_range)
    there = {python: runtime_there(python, runtime) for python in pythons}
    if oldest is None:
        return {}
    return {
        python: version for python, version in there.items()
        if version and tuple(map(int, version.split(".")[:2])) < (int(oldest[1]), int(oldest[2]))
    }  # fmt: skip
