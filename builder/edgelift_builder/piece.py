"""What one step hands to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgelift_contract.manifest import FileRole, Format

PieceFormat = Literal["source"] | Format


@dataclass(frozen=True)
class LayerLoss:
    """How much one layer costs when it alone is quantised.

    Attributes:
        layer: the node's name, and its operator in brackets.
        noise: mean squared difference of the model's outputs to float's ÷ float's mean square; 0 is no loss.
        reverted: was it put back to float to keep the budget.
    """

    layer: str
    noise: float
    reverted: bool = False


@dataclass(frozen=True)
class Range:
    """What calibration saw of one tensor and made of it.

    Attributes:
        tensor: its name.
        low, high: the range that 8 bits were given.
        least, most: of all values seen.
        counts: histogram of the values between `least` and `most`, bins of equal width.
    """

    tensor: str
    low: float
    high: float
    least: float
    most: float
    counts: tuple[int, ...] = ()


def graph_files(paths: Sequence[str]) -> tuple[tuple[str, FileRole], ...]:
    """An ONNX graph's files with their roles: the graph comes first, what follows is its weights."""
    return tuple((path, "weights" if number else "model") for number, path in enumerate(paths))


@dataclass(frozen=True)
class Piece:
    """What one step hands to the next.

    Attributes:
        format: `source` is a module in the child; anything else lies in `folder`.
        key: digest of all that led here.
        folder, files: where it lies; each file's path in it, and role. A module's handle is its folder's name.
        precision: `float32`, `float16`, `float64`, `int8` or `int4`: the narrowest numbers in it.
        steps: names of the steps so far.
        left_float: layers or operators that stayed float although the step was to quantise.
        remarks: for people.
        runtime_range: versions of the runtime that may load it, where narrower than its format's.
        widened: are its narrow weights only stored so, and widened while it loads: then it computes in float.
        sensitivity, ranges: what quantising found out, for the report.
        wider: where layers had to go back to float, with what budgets none would have; see `advice.more_room`.
    """

    format: PieceFormat
    key: str
    folder: Path = Path()
    files: tuple[tuple[str, FileRole], ...] = ()
    precision: str = "float32"
    steps: tuple[str, ...] = ()
    left_float: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    runtime_range: str = ""
    widened: bool = False
    sensitivity: tuple[LayerLoss, ...] = ()
    ranges: tuple[Range, ...] = ()
    wider: str = ""

    @property
    def computes(self) -> str:
        """What it computes in: `precision`, but float32 where weights are widened."""
        return "float32" if self.widened else self.precision

    @property
    def model_path(self) -> Path:
        """The file that the runtime opens."""
        return self.folder / next(path for path, role in self.files if role == "model")

    @property
    def handle(self) -> str:
        """Names the module in the child; empty for the source's own."""
        return "" if self.folder == Path() else self.folder.name
