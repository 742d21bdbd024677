"""What a score is called, which way is better, and in what unit a loss of it is told.

Shares of 1 (accuracy, F1, IoU …) lose *points*, hundredths of the whole. Errors, and scores of any other range, lose *per
cent* of the float model's own value: 2 % of an error of 0.50 m is 1 cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

Better = Literal["higher", "lower"]
Unit = Literal["points", "percent"]

#: What a variant may lose where nobody said: as of a share, and of an error.
DEFAULT_BUDGET: dict[Unit, float] = {"points": 0.5, "percent": 2.0}


@dataclass(frozen=True)
class Measure:
    """One score.

    Attributes:
        name: as its field has it: `accuracy`, `mean IoU`, `MAE`.
        better: which way.
        unit: of a loss and of its budget.
        least: for `percent`, the smallest value that a loss is told by: an error of nothing has no per cent.
        usual: what a variant may lose where nobody said; None for `DEFAULT_BUDGET`.
    """

    name: str
    better: Better = "higher"
    unit: Unit = "points"
    least: float = 1e-12
    usual: float | None = None

    @property
    def budget(self) -> float:
        """What a variant may lose where nobody said, in `unit`."""
        return DEFAULT_BUDGET[self.unit] if self.usual is None else self.usual

    def loss(self, reference: Numbers | float, own: Numbers | float) -> Any:
        """What `own` is worse than `reference`, in `unit`; negative when it is better. Arrays give arrays."""
        worse = np.subtract(reference, own) if self.better == "higher" else np.subtract(own, reference)
        return 100 * (worse if self.unit == "points" else worse / np.maximum(np.abs(reference), self.least))

    def shown(self, value: float) -> str:
        """A value in words: `98.20 %` for a share, `0.0312` for anything else."""
        return f"{100 * value:.2f} %" if self.unit == "points" else f"{value:.4g}"

    def amount(self, loss: float, signed: bool = False) -> str:
        """A loss in words: `0.50 points`, `1.20 %`."""
        number = f"{loss:+.2f}" if signed else f"{loss:.2f}"
        return f"{number} {'points' if self.unit == 'points' else '%'}"
