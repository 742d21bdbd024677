"""What a model is for: as its source says, else told from its outputs and labels; and by which metrics it is judged then.

Told only where no other task fits as well; what is told is always said, with its reason. One column and whole-number labels
may be a count, an age or two classes under other names: that is asked, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, is_text
from edgelift_builder.judge import agreement, anomaly, boxes, classes, detection, quantities
from edgelift_builder.judge.case import Case, Metric
from edgelift_contract.errors import ContractError

Task = Literal[
    "classification", "binary", "multilabel", "regression", "segmentation",
    "detection", "keypoints", "embedding", "anomaly", "sequence",
]  # fmt: skip

TASKS: tuple[Task, ...] = get_args(Task)

_LABELLED: dict[Task, Callable[[Case], Metric]] = {
    "classification": classes.classification,
    "binary": classes.binary,
    "multilabel": classes.multilabel,
    "regression": quantities.regression,
    "segmentation": classes.segmentation,
    "detection": detection.detection,
    "keypoints": quantities.keypoints,
    "embedding": quantities.embedding,
    "anomaly": anomaly.anomaly,
    "sequence": classes.sequence,
}


@dataclass(frozen=True)
class Judging:
    """How a source is judged.

    Attributes:
        task: what it is for; empty where only values are compared.
        why: who said so, or what it was told from.
        metrics: all of which have to hold; the first is the one to show.
    """

    task: str
    why: str
    metrics: tuple[Metric, ...]

    @property
    def words(self) -> str:
        """One sentence for people."""
        how = "; ".join(f"{metric.measure.name} of {metric.words}" for metric in self.metrics)
        return f"Judged as {self.task or 'values'} ({self.why}): {how}."


def check_task(task: str) -> str:
    """`task` if there is such a one, or empty.

    Raises:
        ContractError: `source-invalid`.
    """
    if task and task not in TASKS:
        raise ContractError(
            "source-invalid", f"There is no task {task!r}.", hint=f"It is one of {', '.join(TASKS)}."
        )
    return task


def judging(case: Case, task: str) -> Judging:
    """How to judge; `task` as the source names it, or empty.

    Raises:
        ContractError: `source-invalid`: labels and outputs don't fit the task, or no task can be told from them.
    """
    if task:
        return _named(case, task)
    if case.labels is not None:
        told, why = tell(case)
        return Judging(told, why, (_LABELLED[told](case),))
    return _without_labels(case)


def _named(case: Case, task: str) -> Judging:
    why = "the source says so"
    if case.labels is not None or task in ("embedding", "detection"):
        metric = _LABELLED[task](case)  # type: ignore[index]  # checked by `check_task`
        return Judging(task, why, (metric,) if case.labels is not None else (metric, *agreement.agreement(case)))
    chosen = [agreement.chosen(n, case) for n, a in case.reference.items() if a.ndim >= 2 and a.shape[-1] > 1]
    extra = chosen[:1] if task == "classification" else []
    return Judging(task, f"{why}; there are no labels", (*extra, *agreement.agreement(case)))


def _without_labels(case: Case) -> Judging:
    values = agreement.agreement(case)
    how = boxes.layout(case.reference)
    if how is not None and any(len(found.boxes) for found in boxes.detections(case.reference, how)):
        why = "there are no labels; the outputs look like boxes with scores"
        return Judging("detection", why, (detection.detection(case), *values))
    scores = [name for name, array in case.reference.items() if agreement.are_class_scores(array)]
    if scores:
        why = f"there are no labels; {scores[0]} is shares of classes"
        return Judging("classification", why, (agreement.chosen(scores[0], case), *values))
    return Judging("", "there are no labels", tuple(values))


def tell(case: Case) -> tuple[Task, str]:
    """The task that labels and outputs show, and why.

    Raises:
        ContractError: `source-invalid`, with the line that would help.
    """
    if isinstance(case.labels, Mapping):
        return "detection", "the labels are boxes"
    labels = np.asarray(case.labels)
    outputs = [a for a in case.reference.values() if not ragged.is_ragged(a)]
    for told in (_by_text, _by_classes, _by_places, _by_one_score, _by_many):
        found = told(labels, outputs)
        if found is not None:
            return found
    shapes = ", ".join(
        f"{a.dtype.name}{list(a.shape)}" if not is_text(a) else "text" for a in case.reference.values()
    )
    raise ContractError(
        "source-invalid",
        f"What the model is for can't be told from labels {labels.dtype.name}{list(labels.shape)} and outputs {shapes}.",
        hint=f'Name it, as Source(…, task="regression"); there are {", ".join(TASKS)}. Or give a metric of your own.',
    )


_Told = tuple[Task, str] | None


def _by_text(labels: Array, outputs: list[Array]) -> _Told:
    fits = is_text(labels) and any(is_text(a) and a.size == labels.size for a in outputs)
    return ("classification", "outputs and labels are text") if fits else None


def _by_classes(labels: Array, outputs: list[Array]) -> _Told:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    counts = [a.shape[1] for a in outputs if a.ndim == 2 and a.shape[1] > 1 and a.dtype.kind == "f"]
    count = next((c for c in counts if labels.min() >= 0 and labels.max() < c), 0)
    return ("classification", f"class numbers for {count} scores") if count else None


def _by_places(labels: Array, outputs: list[Array]) -> _Told:
    if labels.ndim < 2 or not np.issubdtype(labels.dtype, np.integer):
        return None
    for array in outputs:
        for axis in (1, array.ndim - 1):
            rest = array.shape[:axis] + array.shape[axis + 1 :]
            if array.ndim == labels.ndim + 1 and rest == labels.shape and array.shape[axis] > 1:
                task: Task = "segmentation" if labels.ndim == 3 else "sequence"
                return task, f"class numbers for every {'pixel' if labels.ndim == 3 else 'place'}"
    return None


def _by_one_score(labels: Array, outputs: list[Array]) -> _Told:
    one = [a for a in outputs if a.size == len(a) == labels.size == len(labels) and a.dtype.kind == "f"]
    if not one:
        return None
    if np.isin(labels, (0, 1)).all() or np.isin(labels, (-1, 1)).all():
        return "binary", "one score per sample, labels of two kinds"
    return ("regression", "one number per sample, labels are numbers") if labels.dtype.kind == "f" else None


def _by_many(labels: Array, outputs: list[Array]) -> _Told:
    same = [a for a in outputs if a.shape == labels.shape and a.dtype.kind == "f" and labels.ndim >= 2]
    if not same:
        return None
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        if (labels.sum(axis=1) == 1).all():
            return "classification", "one class of each row is marked"
        return "multilabel", "several labels of each sample, 0 or 1"
    return ("regression", "as many numbers as labels") if labels.dtype.kind == "f" else None
