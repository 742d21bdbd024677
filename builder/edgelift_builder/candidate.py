"""A candidate: one variant for one target, and everything found out about it on its way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgelift_builder.measure.emulated_guest import Emulation
from edgelift_builder.measure.evaluate import Judgement
from edgelift_builder.measure.examine import Examined
from edgelift_builder.measure.latency import Latency, Ratio
from edgelift_builder.measure.memory import Cost
from edgelift_builder.measure.runtimes import RUNTIMES, ModelSpec
from edgelift_builder.piece import Piece
from edgelift_builder.recipe import FLOAT, Variant
from edgelift_builder.targets import Target
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.manifest import RuntimeName


@dataclass
class Candidate:
    """Filled step by step; what is None was not reached, or could not be measured here.

    Attributes:
        target, variant: what it is.
        budget_pp: most that it may lose against float, percentage points.
        piece, spec: the model's files, and how to open them.
        examined, judgement: what it answers, and how good that is.
        latency, cost, float_ratio: what it costs on this machine; `float_ratio` is the time of the float32 of
            the same format ÷ this one's, above 1 is faster; see `latency.ratio`.
        emulation: what it did on its target's emulated processor.
        error: why it could not be made or run.
        shipped, code, reason: the gates' decision; code and reason are empty when all gates were passed.
        artifact: its id, once packaged.
    """

    target: Target
    variant: Variant
    budget_pp: float
    piece: Piece | None = None
    spec: ModelSpec | None = None
    examined: Examined | None = None
    judgement: Judgement | None = None
    latency: Latency | None = None
    cost: Cost | None = None
    float_ratio: Ratio | None = None
    emulation: Emulation | None = None
    error: EdgeliftError | None = None
    shipped: bool = False
    code: str = ""
    reason: str = ""
    artifact: str = ""

    @property
    def runtime(self) -> RuntimeName:
        """Who loads it."""
        return RUNTIMES[self.variant.format]

    @property
    def is_float(self) -> bool:
        """Is it what the others of its format are compared with."""
        return self.variant.name == FLOAT

    @property
    def label(self) -> str:
        """As a person would name it: `int8-static onnx for rpi4`."""
        return f"{self.variant.name} {self.variant.format} for {self.target.name}"

    @property
    def model_bytes(self) -> int:
        """Size of graph and weights, without goldens; 0 when it was not made."""
        return sum(path.stat().st_size for path in self.model_files()) if self.piece else 0

    def model_files(self) -> list[Path]:
        """Graph and weights."""
        return [self.piece.folder / path for path, _ in self.piece.files] if self.piece else []


def find_float(candidates: list[Candidate], other: Candidate) -> Candidate | None:
    """The float32 of the same format for the same target, if it could be made."""
    for candidate in candidates:
        same = candidate.target is other.target and candidate.variant.format == other.variant.format
        if same and candidate.is_float and candidate.examined:
            return candidate
    return None
