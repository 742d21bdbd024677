"""Metrics of models that choose among classes: one per sample, one per place in a sequence or picture, two, or many at once.

Class numbers are integers from 0; a label below 0, or 255 in a picture, says that a place is not to be judged (the
conventions of torch's losses and of segmentation data sets). Scores of all classes stand along one axis of an output:
the last, or for pictures and sequences as torch has them axis 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, numbers, pick, refuse
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample, Sums

ACCURACY = Measure("accuracy")
BALANCED = Measure("balanced accuracy")

#: A place with this label is not judged, in pictures.
VOID = 255


def classification(case: Case) -> Metric:
    """Accuracy: is the largest score that of the right class; for text, is it the same to the letter."""
    labels = np.asarray(case.labels)
    name = pick(case, lambda a: is_text(a) == is_text(labels) and _one_each(a, labels))
    if name is None:
        raise refuse("classification", case, "It needs scores [n, classes] and labels int[n].")
    if is_text(labels):
        flat = labels.reshape(len(labels), -1)
        return Metric(
            ACCURACY, lambda out: PerSample(_same(out[name], flat)), f"{name}, to the letter", _most(flat)
        )
    right = labels.argmax(-1) if labels.ndim == 2 else labels
    return Metric(
        ACCURACY,
        lambda out: PerSample((_largest(out[name]) == right).astype(np.float64)),
        f"the largest of {name}",
        _most(right),
        {BALANCED.name: lambda out: balanced(_largest(out[name]), right)},
    )


def _one_each(array: Array, labels: Array) -> bool:
    if is_text(array):
        return array.size == labels.size and len(array) == len(labels)
    if labels.ndim == 2 and array.shape == labels.shape:  # one-hot
        return bool((labels.sum(-1) == 1).all())
    if np.issubdtype(array.dtype, np.integer):  # classes chosen in the model
        return array.size == labels.size and labels.ndim == 1
    return array.ndim == 2 and labels.ndim == 1 and array.shape[1] > 1


def _largest(array: Array) -> Array:
    if np.issubdtype(array.dtype, np.integer):
        return array.reshape(len(array))
    chosen: Array = array.argmax(-1)
    return chosen


def _same(found: Array, right: Array) -> Numbers:
    made: Numbers = (found.reshape(right.shape) == right).mean(axis=1, dtype=np.float64)
    return made


def _most(labels: Array) -> float:
    """The share of the commonest label: what always giving that one would get."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / labels.size)


def balanced(found: Array, right: Array) -> float:
    """Mean over classes of the share that is found, by scikit-learn."""
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(right, found))


def binary(case: Case) -> Metric:
    """Accuracy of one score per sample at its threshold: a half for shares, 0 for anything that leaves [0, 1]."""
    labels = np.asarray(case.labels).reshape(-1)
    name = pick(case, lambda a: not is_text(a) and a.size == len(a) == len(labels))
    if name is None:
        raise refuse("binary", case, "It needs one score per sample, [n, 1] or [n], and labels 0 or 1.")
    threshold = threshold_of(case.reference[name])
    right = labels > 0
    return Metric(
        ACCURACY,
        lambda out: PerSample(((numbers(out[name]).reshape(-1) > threshold) == right).astype(np.float64)),
        f"{name} above {threshold:g}",
        _most(right),
        {"ROC AUC": lambda out: auc(numbers(out[name]).reshape(-1), right)},
    )


def auc(scores: Numbers, positive: Array) -> float:
    """ROC AUC by scikit-learn; a half where all are of one kind."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else 0.5


def threshold_of(scores: Array) -> float:
    """Where a score of one class says yes: at a half, where all are shares of 1, else (logits) at 0."""
    return 0.5 if bool(((scores >= 0) & (scores <= 1)).all()) else 0.0


def multilabel(case: Case) -> Metric:
    """F1 over all samples and labels together (micro), each label at its threshold."""
    labels = np.asarray(case.labels) > 0
    name = pick(case, lambda a: not is_text(a) and a.shape == labels.shape and a.ndim == 2)
    if name is None:
        raise refuse("multilabel", case, "It needs scores [n, labels] and labels of the same shape, each 0 or 1.")
    threshold = threshold_of(case.reference[name])

    def parts(out: DataSet) -> Sums:
        found = numbers(out[name]) > threshold
        held = [(found & labels).sum(1), (found & ~labels).sum(1), (~found & labels).sum(1)]
        return Sums(np.stack(held, axis=1).astype(np.float64), f1)

    share = labels.mean()
    return Metric(
        Measure("F1"), parts, f"{name} above {threshold:g}, all labels together", float(2 * share / (1 + share))
    )


def f1(sums: Numbers) -> Numbers:
    """F1 of (right, wrong, missed), float64[rows, 3]: float64[rows]; 1 where nothing was to be found and nothing was."""
    right, wrong, missed = sums.T
    whole = 2 * right + wrong + missed
    made: Numbers = np.where(whole > 0, 2 * right / np.maximum(whole, 1), 1.0)
    return made


def sequence(case: Case) -> Metric:
    """Accuracy over all places of all samples that have a label."""
    labels = np.asarray(case.labels)
    name, axis = _places(case, labels)
    if name is None or labels.ndim < 2:
        raise refuse("sequence", case, "It needs scores [n, length, classes] and labels int[n, length].")
    judged = labels >= 0

    def parts(out: DataSet) -> Sums:
        right = (out[name].argmax(axis) == labels) & judged
        return Sums(np.stack([_each(right), _each(judged)], axis=1), lambda s: s[:, 0] / np.maximum(s[:, 1], 1))

    return Metric(
        ACCURACY, parts, f"the largest of {name} along axis {axis}, at every place", _most(labels[judged])
    )


def segmentation(case: Case) -> Metric:
    """Mean IoU: intersection over union of each class over all pixels of all samples, their mean over classes that occur."""
    labels = np.asarray(case.labels)
    name, axis = _places(case, labels)
    if name is None:
        name, axis, labels = _mask(case, labels)
    if name is None:
        raise refuse("segmentation", case, "It needs scores [n, classes, h, w] and labels int[n, h, w].")
    judged = (labels >= 0) & (labels != VOID)
    count = int(max(labels[judged].max(initial=0) + 1, case.reference[name].shape[axis] if axis else 2))
    chosen = _chooser(case.reference[name], axis)

    def parts(out: DataSet) -> Sums:
        return Sums(_confusion(chosen(out[name]), labels, judged, count), _mean_iou)

    words = f"the largest of {name} along axis {axis}" if axis else f"{name} above its threshold"
    shares = np.bincount(labels[judged], minlength=count) / max(1, judged.sum())
    return Metric(Measure("mean IoU"), parts, words, float(shares.max() / max(1, (shares > 0).sum())))


def _places(case: Case, labels: Array) -> tuple[str | None, int]:
    """The output with class scores for every place that has a label, and the axis of the classes."""
    if not np.issubdtype(labels.dtype, np.integer):
        return None, 0
    for name, array in case.reference.items():
        for axis in (1, array.ndim - 1):
            rest = array.shape[:axis] + array.shape[axis + 1 :]
            if array.ndim == labels.ndim + 1 and array.shape[axis] > 1 and rest == labels.shape:
                return name, axis
    return None, 0


def _mask(case: Case, labels: Array) -> tuple[str | None, int, Array]:
    """The output with one score per pixel, for labels 0 and 1; labels in its shape."""
    name = pick(case, lambda a: not is_text(a) and a.ndim >= 3 and a.size == labels.size and len(a) == len(labels))
    if name is None or not np.isin(labels, (0, 1, VOID)).all():
        return None, 0, labels
    return name, 0, labels.reshape(case.reference[name].shape).astype(np.int64)


def _chooser(reference: Array, axis: int) -> Callable[[Array], Array]:
    threshold = threshold_of(reference)
    return lambda array: array.argmax(axis) if axis else (array > threshold).astype(np.int64)


def _confusion(found: Array, labels: Array, judged: Array, count: int) -> Numbers:
    """Of each sample: pixels of class r that were called f, at `r * count + f`."""
    made = np.zeros((len(labels), count * count))
    for i in range(len(labels)):
        there = judged[i]
        places = labels[i][there].astype(np.int64) * count + np.minimum(found[i][there], count - 1)
        made[i] = np.bincount(places, minlength=count * count)
    return made


def _mean_iou(sums: Numbers) -> Numbers:
    count = round(float(np.sqrt(sums.shape[1])))
    table = sums.reshape(-1, count, count)
    both = np.diagonal(table, axis1=1, axis2=2)
    either = table.sum(1) + table.sum(2) - both
    occurs = either > 0
    made: Numbers = (both / np.maximum(either, 1)).sum(1) / np.maximum(occurs.sum(1), 1)
    return made


def _each(judged: Array) -> Numbers:
    made: Numbers = judged.reshape(len(judged), -1).sum(axis=1, dtype=np.float64)
    return made
