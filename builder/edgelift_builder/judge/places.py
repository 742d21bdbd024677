"""Metrics of models that choose a class for every place of a sample: every token or frame, or every pixel.

A label below 0, or in a picture 255, says that a place is not to be judged. Scores of all classes stand along one axis of an
output: the last, or as torch has them axis 1. Where lengths fit both, it is the one by which the float model is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, Reading, fitting
from edgelift_builder.judge.classes import ACCURACY, most, ratio, threshold_of
from edgelift_builder.judge.labelled import VOID, check_some, marked_axis, whole
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import Sums
from edgelift_builder.judge.vanished import Right

#: (output, axis of the classes; None where the output is classes, or one score, for each place)
Places = tuple[str, int | None]


def sequence(case: Case) -> Iterator[Reading]:
    """Accuracy over all places of all samples that have a label."""
    if ragged.is_ragged(np.asarray(case.labels)):
        yield from _of_any_length(case)
        return
    for (name, axis), labels in _found(case):
        if labels.ndim >= 2:
            may_be = (
                axis is None or case.reference[name].shape[axis] > VOID
            )  # else it is no class: bytes have no -1
            judged = (labels >= 0) & ((labels != VOID) | may_be)
            check_some(judged)
            yield (_every_place(name, axis, chooser(case.reference[name], axis), labels, judged),)


def _every_place(
    name: str, axis: int | None, choose: Callable[[Array], Array], labels: Array, judged: Array
) -> Metric:
    def parts(out: DataSet) -> Sums:
        right = (choose(out[name]) == labels) & judged
        return Sums(np.stack([_each(right), _each(judged)], axis=1), ratio, float(judged.sum()))

    def rights(out: DataSet) -> Right:
        hits = (choose(out[name]) == labels) & judged
        return Right(labels[hits].astype(np.int64), np.nonzero(hits)[0])

    words = f"{_words(name, axis)}, at every place"
    return Metric(ACCURACY, parts, words, most(labels[judged]), looks_at=(name,), rights=rights)


def _of_any_length(case: Case) -> Iterator[Reading]:
    """Samples of any length: classes on the last axis of every answer."""
    labels = [np.asarray(one) for one in case.labels]
    flat = np.concatenate([one.ravel() for one in labels])
    if whole(flat) is None:
        return
    for name, array in case.reference.items():
        if len(array) == len(labels) and all(
            np.shape(answer)[:-1] == one.shape and np.shape(answer)[-1] > 1
            for answer, one in zip(array, labels, strict=True)
        ):
            yield (_ragged_metric(name, labels, most(flat[flat >= 0])),)


def _ragged_metric(name: str, labels: list[Array], constant: float) -> Metric:
    judged = [one >= 0 for one in labels]

    def hits(out: DataSet) -> list[Array]:
        return [
            (np.asarray(answer).argmax(-1) == one) & there
            if np.shape(answer)[:-1] == one.shape
            else np.zeros(one.shape, dtype=bool)
            for answer, one, there in zip(out[name], labels, judged, strict=True)
        ]

    def parts(out: DataSet) -> Sums:
        made = np.array(
            [(right.sum(), there.sum()) for right, there in zip(hits(out), judged, strict=True)], dtype=np.float64
        )
        return Sums(made, ratio, float(made[:, 1].sum()))

    def rights(out: DataSet) -> Right:
        found = hits(out)
        classes = [one[right] for one, right in zip(labels, found, strict=True)]
        return Right(
            np.concatenate(classes).astype(np.int64),
            np.repeat(np.arange(len(found)), [len(one) for one in classes]),
        )

    return Metric(
        ACCURACY, parts, f"the largest of {name} at every place", constant, looks_at=(name,), rights=rights
    )


def segmentation(case: Case) -> Iterator[Reading]:
    """Mean IoU: intersection over union of each class over all pixels of all samples, their mean over classes that occur."""
    if ragged.is_ragged(np.asarray(case.labels)):
        return
    for (name, axis), labels in _found(case):
        judged = (labels >= 0) & (labels != VOID)
        check_some(judged)
        array = case.reference[name]
        choose = chooser(array, axis)
        count = array.shape[axis] if axis is not None else 1 + int(choose(array).max(initial=1))
        yield (
            _mean_iou_of(name, axis, choose, labels, judged, max(count, int(labels[judged].max(initial=0)) + 1)),
        )


def _mean_iou_of(
    name: str, axis: int | None, choose: Callable[[Array], Array], labels: Array, judged: Array, count: int
) -> Metric:
    def parts(out: DataSet) -> Sums:
        return Sums(_counts(choose(out[name]), labels, judged, count), mean_iou, float(judged.sum()))

    shares = np.bincount(labels[judged], minlength=count) / max(1, judged.sum())
    constant = float(shares.max() / max(1, (shares > 0).sum()))
    return Metric(Measure("mean IoU"), parts, _words(name, axis), constant, looks_at=(name,))


def _words(name: str, axis: int | None) -> str:
    return (
        f"the largest of {name} along axis {axis}"
        if axis is not None
        else f"{name}, the class or yes of each place"
    )


def _found(case: Case) -> Iterator[tuple[Places, Array]]:
    """Outputs that say a class for every place that has a label, with the labels in the shape of their places."""
    for name in fitting(case, lambda a: not is_text(a) and a.ndim >= 2):
        array = case.reference[name]
        for axis in dict.fromkeys((1, array.ndim - 1)):
            labels = _classes(np.asarray(case.labels), array, axis)
            if labels is not None:
                yield (name, axis), labels
        plain = _alike(np.asarray(case.labels), array)
        if plain is not None:
            yield (name, None), plain


def _classes(labels: Array, array: Array, axis: int) -> Array | None:
    """Labels for the places of an output with all classes along `axis`."""
    rest = array.shape[:axis] + array.shape[axis + 1 :]
    marked = marked_axis(labels) if labels.shape == array.shape else None
    if marked == axis and labels.ndim >= 3:
        classes: Array = labels.argmax(axis)
        return classes
    numbered = whole(labels)
    # Labels may have an axis of length 1 where the classes' is.
    if numbered is None or numbered.size != int(np.prod(rest)) or array.shape[axis] < 2 or array.ndim < 3:
        return None
    fits = _bare(numbered.shape) == _bare(rest)
    most_known = int(numbered[numbered != VOID].max(initial=0))
    return numbered.reshape(rest) if fits and most_known < array.shape[axis] else None


def _alike(labels: Array, array: Array) -> Array | None:
    """Labels in the shape of an output that says a class, or one score, for every place."""
    numbered = whole(labels)
    if numbered is None or numbered.size != array.size or _bare(numbered.shape) != _bare(array.shape):
        return None
    classes = array.dtype.kind in "iub"
    two = bool(np.isin(numbered, (0, 1, VOID)).all() or (numbered[numbered >= 0] <= 1).all())
    return numbered.reshape(array.shape) if classes or two else None


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] + tuple(length for length in shape[1:] if length != 1)


def chooser(reference: Array, axis: int | None) -> Callable[[Array], Array]:
    """An output → the class of every place."""
    if axis is not None:
        return lambda array: array.argmax(axis)
    if reference.dtype.kind in "iub":
        return lambda array: array.astype(np.int64)
    threshold = threshold_of(reference)
    return lambda array: (array > threshold).astype(np.int64)


def _counts(found: Array, labels: Array, judged: Array, count: int) -> Numbers:
    """Of each sample, for every class: pixels rightly called so, called so, and being so: float64[n, 3 * (count + 1)]. The
    last is no class: whatever else an answer says.
    """
    made = np.zeros((len(labels), 3 * (count + 1)))
    for i in range(len(labels)):
        there = judged[i]
        right, said = labels[i][there].astype(np.int64), found[i][there].astype(np.int64)
        said = np.where((said >= 0) & (said < count), said, count)
        parts = (right[right == said], said, right)
        made[i] = np.concatenate([np.bincount(part, minlength=count + 1) for part in parts])
    return made


def mean_iou(sums: Numbers) -> Numbers:
    """Of what `_counts` counts: the mean IoU over classes that occur in labels or answers, float64[rows]."""
    both, said, right = np.split(sums, 3, axis=1)
    either = said + right - both
    made: Numbers = (both / np.maximum(either, 1)).sum(1) / np.maximum((either > 0).sum(1), 1)
    return made


def _each(judged: Array) -> Numbers:
    made: Numbers = judged.reshape(len(judged), -1).sum(axis=1, dtype=np.float64)
    return made
