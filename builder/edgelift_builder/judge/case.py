"""What a metric is made from: the samples, what is right, and what the float model says; and what a metric is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge.measure import Measure
from edgelift_builder.judge.scored import Scored
from edgelift_contract.errors import ContractError


@dataclass(frozen=True)
class Case:
    """One evaluation.

    Attributes:
        inputs, reference: the samples, and the float model's outputs for them.
        labels: what is right for each, as the source gave it; None where it gave none.
    """

    inputs: DataSet
    reference: DataSet
    labels: Any = None


@dataclass(frozen=True)
class Metric:
    """How outputs are scored.

    Attributes:
        measure: name, direction, unit.
        score: outputs of all samples → `Scored`.
        words: which output is looked at and how, for people.
        constant: the score of the best answer that looks at no input; None where that is not known.
        beside: further measures of the same outputs, for the report alone.
    """

    measure: Measure
    score: Callable[[DataSet], Scored]
    words: str
    constant: float | None = None
    beside: Mapping[str, Callable[[DataSet], float]] = field(default_factory=dict)


def numbers(array: Array) -> Array:
    """As float64, whatever it was."""
    return np.asarray(array, dtype=np.float64)


def pick(case: Case, fits: Callable[[Array], bool]) -> str | None:
    """The first output that fits, by name."""
    return next((name for name, array in case.reference.items() if fits(array)), None)


def refuse(task: str, case: Case, wanted: str) -> ContractError:
    """Labels and outputs that don't go together for a task."""
    outputs = ", ".join(f"{n} {_kind(a)}" for n, a in case.reference.items())
    labels = _kind(case.labels) if hasattr(case.labels, "dtype") else type(case.labels).__name__
    return ContractError(
        "source-invalid",
        f"As {task} this can't be judged: the outputs are {outputs}, the labels {labels}.",
        hint=wanted,
    )


def _kind(array: Array) -> str:
    return f"{array.dtype.name}{list(array.shape)}" if array.dtype.kind not in "OU" else f"text{list(array.shape)}"
