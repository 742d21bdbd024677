"""Which onnxruntime loads an ONNX file: by its opset, its IR version and its contributed operators.

The table was measured: a model of one node, loaded by the wheels of these versions for x86-64 and Python 3.11. Nothing
older than `OLDEST` is offered: its session options are other ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Reads(NamedTuple):
    """An onnxruntime release, and the newest opset and IR version that it loads."""

    release: tuple[int, int]
    opset: int
    ir: int


#: Oldest first. 1.18 to 1.20 are alike, 1.21 and 1.22, and 1.25 to 1.30.
TABLE = (
    Reads((1, 17), 20, 9),
    Reads((1, 18), 21, 10),
    Reads((1, 21), 22, 10),
    Reads((1, 23), 23, 11),
    Reads((1, 24), 25, 13),
    Reads((1, 25), 26, 13),
    Reads((1, 32), 26, 14),
)

OLDEST = TABLE[0].release

#: Newest onnxruntime with a wheel for a device's Python, where that is not the newest of all (PyPI: 1.23.2 is the last one
#: for Python 3.10, which JetPack 6 has).
NEWEST_FOR_PYTHON = {(3, 10): (1, 23)}


def release_for(opset: int, ir: int) -> tuple[int, int]:
    """The oldest release that loads a model of that opset and IR version; the newest known where none is known to."""
    return next((r.release for r in TABLE if r.opset >= opset and r.ir >= ir), TABLE[-1].release)


def runtime_range(model: Path, narrower: str = "") -> str:
    """Versions of onnxruntime that may load `model`, as `>=1.17`; `narrower`: what its operators ask for, in that form."""
    import onnx

    proto = onnx.load(model, load_external_data=False)
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
    least = max(release_for(opset, proto.ir_version), _parsed(narrower))
    return f">={least[0]}.{least[1]}"


def _parsed(said: str) -> tuple[int, int]:
    major, _, minor = said.removeprefix(">=").partition(".")
    return (int(major), int(minor)) if minor else OLDEST
