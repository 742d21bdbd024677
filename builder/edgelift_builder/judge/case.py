"""What a metric is made from: the samples, what is right, and what the float model says; and what a metric is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge.measure import Measure
from edgelift_builder.judge.scored import Scored
from edgelift_builder.judge.vanished import Rights
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
        rights: which things of which class answers have right, where it is a share of those; see `vanished`.
        always: what that answer scores, sample by sample, where it is known.
        looks_at: outputs that it says all of; the values of every other one are held to float's, see `agreement`.
    """

    measure: Measure
    score: Callable[[DataSet], Scored]
    words: str
    constant: float | None = None
    beside: Mapping[str, Callable[[DataSet], float]] = field(default_factory=dict)
    looks_at: tuple[str, ...] = ()
    always: Scored | None = None
    rights: Rights | None = None


#: One way to read a model's outputs: metrics that all have to hold, the first of which is the one to show.
Reading = tuple[Metric, ...]


def numbers(array: Array) -> Array:
    """As float64, whatever it was."""
    return np.asarray(array, dtype=np.float64)


def in_rows(array: Array) -> Array:
    """Scores of classes as `[n, classes]`, also those between axes of length 1, as a convolution at a net's end leaves them:
    `[n, classes, 1, 1]` or `[n, 1, 1, classes]`. What is no such thing stays as it is.
    """
    alone = array.ndim > 2 and array.size == len(array) * max(array.shape[1:])
    return array.reshape(len(array), -1) if alone else array


def fitting(case: Case, fits: Callable[[Array], bool]) -> list[str]:
    """The outputs that fit, by name."""
    return [name for name, array in case.reference.items() if not ragged.is_ragged(array) and fits(array)]


def refuse(task: str, case: Case, wanted: str) -> ContractError:
    """Labels and outputs that don't go together for a task."""
    return ContractError(
        "source-invalid",
        f"As {task} this can't be judged: the outputs are {shown(case)}, {_labels(case.labels)}.",
        hint=wanted,
    )


def _labels(labels: Any) -> str:
    return "and there are no labels" if labels is None else f"the labels {kind(labels)}"


def shown(case: Case) -> str:
    """The outputs in words."""
    return ", ".join(f"{n} {kind(a)}" for n, a in case.reference.items())


def kind(array: Any) -> str:
    """An array, or a dict of them, in words: `float32[900, 1]`."""
    if isinstance(array, Mapping):
        return " and ".join(f"{n} {kind(a)}" for n, a in array.items())
    if not hasattr(array, "dtype"):
        return type(array).__name__
    if ragged.is_ragged(array):
        return f"{array[0].dtype.name} of {array[0].ndim} axes, whose lengths differ" if len(array) else "nothing"
    return f"text{list(array.shape)}" if array.dtype.kind == "U" else f"{array.dtype.name}{list(array.shape)}"
