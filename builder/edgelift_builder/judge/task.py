"""The task that labels and outputs show. Told only where no other task fits as well: one column and whole-number labels may
be a count, an age or two classes under other names, and that is asked, not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, is_text
from edgelift_builder.judge.case import Case, in_rows, kind, shown
from edgelift_builder.judge.labelled import VOID, are_yes_or_no, column, marked_axis, whole
from edgelift_contract.errors import ContractError

Task = Literal[
    "classification", "binary", "multilabel", "regression", "segmentation",
    "detection", "keypoints", "embedding", "anomaly", "sequence",
]  # fmt: skip

TASKS: tuple[Task, ...] = get_args(Task)

#: What a detector's labels consist of, each a column.
OBJECTS = {"boxes", "labels"}

_Told = tuple[Task, str] | None


def tell(case: Case) -> tuple[Task, str]:
    """The task, and why.

    Raises:
        ContractError: `source-invalid`, with the line that would help.
    """
    if isinstance(case.labels, Mapping) and set(case.labels) == OBJECTS:
        return "detection", "the labels are boxes"
    if not isinstance(case.labels, Mapping):
        labels = np.asarray(case.labels)
        outputs = [a for a in case.reference.values() if not ragged.is_ragged(a)]
        if ragged.is_ragged(labels) and all(whole(np.asarray(one)) is not None for one in labels):
            return "sequence", "class numbers for every place, of samples of any length"
        for rule in (_by_text, _by_classes, _by_marks, _by_places, _by_one_score, _by_many):
            found = rule(labels, outputs)
            if found is not None:
                return found
    names = f"; labels of several outputs go by name, as {{{next(iter(case.reference))!r}: …}}"
    raise ContractError(
        "source-invalid",
        f"What the model is for can't be told from labels {kind(case.labels)} and outputs {shown(case)}.",
        hint=f'{_counted_from_one(case)}Name it, as Source(…, task="regression"); there are {", ".join(TASKS)}. Or give '
        f"a metric of your own{names if len(case.reference) > 1 else ''}.",
    )


def _counted_from_one(case: Case) -> str:
    """The likeliest way on where the largest label is one beyond the last score, and none is 0."""
    labels = None if isinstance(case.labels, Mapping) else np.asarray(case.labels)
    numbered = None if labels is None or labels.size != len(labels) else whole(column(labels))
    if numbered is None or not numbered.size or numbered.min() < 1:
        return ""
    last = int(numbered.max())
    found = [in_rows(a) for a in case.reference.values() if not ragged.is_ragged(a)]
    counts = [a.shape[1] for a in found if a.ndim == 2]
    return (
        f"Class numbers begin at 0: are these, 1 to {last} for {last} scores, one too high? "
        if last in counts
        else ""
    )


def _by_text(labels: Array, outputs: list[Array]) -> _Told:
    fits = is_text(labels) and any(is_text(a) and a.size == labels.size for a in outputs)
    return ("classification", "outputs and labels are text") if fits else None


def _by_classes(labels: Array, outputs: list[Array]) -> _Told:
    """One class number for each sample, and scores of as many classes or classes that were chosen inside."""
    if ragged.is_ragged(labels) or labels.size != len(labels):
        return None
    numbered = whole(column(labels))
    if numbered is None or (numbered.min(initial=0) < 0 and set(np.unique(numbered)) <= {-1, 1}):
        return None
    rows = [in_rows(a) for a in outputs if a.dtype.kind == "f"]
    counts = [a.shape[1] for a in rows if a.ndim == 2 and a.shape[1] > 1]
    count = next((c for c in counts if numbered.max(initial=0) < c), 0)
    if count:
        return "classification", f"class numbers for {count} scores"
    chosen = any(a.dtype.kind in "iu" and a.size == len(a) == len(labels) for a in outputs)
    return ("classification", "class numbers, chosen inside the model") if chosen else None


def _by_marks(labels: Array, outputs: list[Array]) -> _Told:
    """One class of each sample or place is marked by 1 among 0."""
    if ragged.is_ragged(labels) or is_text(labels) or not any(in_rows(a).shape == labels.shape for a in outputs):
        return None
    axis = marked_axis(labels)
    if axis is None:
        return None
    if labels.ndim == 2:
        return "classification", "one class of each row is marked"
    return _of_places(labels.ndim - 1, "one class is marked")


def _by_places(labels: Array, outputs: list[Array]) -> _Told:
    numbered = None if ragged.is_ragged(labels) else whole(labels)
    if numbered is None or labels.ndim < 2:
        return None
    for array in outputs:
        if array.ndim >= 3 and array.dtype.kind == "f":
            for axis in (1, array.ndim - 1):
                rest = array.shape[:axis] + array.shape[axis + 1 :]
                fits = array.shape[axis] > 1 and _bare(rest) == _bare(labels.shape)
                if fits and numbered[numbered != VOID].max(initial=0) < array.shape[axis]:
                    return _of_places(array.ndim - 1, "class numbers")
        same = _bare(array.shape) == _bare(labels.shape) and len(_bare(labels.shape)) > 1
        if same and array.dtype.kind in "iu":
            return _of_places(len(_bare(labels.shape)), "class numbers, chosen inside the model,")
        places = (
            array.ndim == 3 or in_rows(array).ndim >= 3
        )  # and [n, labels, 1, 1] are several labels of each sample
        if same and places and np.isin(numbered, (0, 1, VOID)).all():
            return _of_places(len(_bare(labels.shape)), "yes or no")
    return None


def _of_places(axes: int, what: str) -> _Told:
    return ("segmentation", f"{what} for every pixel") if axes >= 3 else ("sequence", f"{what} for every place")


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] + tuple(length for length in shape[1:] if length != 1)


def _by_one_score(labels: Array, outputs: list[Array]) -> _Told:
    one = [a for a in outputs if a.size == len(a) == labels.size == len(labels) and a.dtype.kind == "f"]
    two = [
        a
        for a in outputs
        if a.size == 2 * len(a) == 2 * labels.size and in_rows(a).ndim == 2 and a.dtype.kind == "f"
    ]
    if (one or two) and are_yes_or_no(labels):
        return "binary", f"{'one score' if one else 'two scores'} per sample, labels of two kinds"
    return (
        ("regression", "one number per sample, labels are numbers") if one and labels.dtype.kind == "f" else None
    )


def _by_many(labels: Array, outputs: list[Array]) -> _Told:
    if ragged.is_ragged(labels) or labels.ndim < 2:
        return None
    same = [a for a in outputs if _bare(a.shape) == _bare(labels.shape) and a.dtype.kind == "f"]
    if not same:
        return None
    if labels.ndim == 2 and are_yes_or_no(labels):
        return "multilabel", "several labels of each sample, each of two kinds"
    shares = labels.ndim == 2 and labels.dtype.kind == "f" and (labels >= 0).all() and labels.shape[1] > 1
    if shares and np.allclose(labels.sum(axis=1), 1, atol=1e-3):
        return None  # shares of classes, or parts of a whole: asked
    return ("regression", "as many numbers as labels") if labels.dtype.kind == "f" else None
