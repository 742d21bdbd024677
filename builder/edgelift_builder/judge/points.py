"""Keypoints: how far each is from its label, by the size of what they mark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge import agreement
from edgelift_builder.judge.case import Case, Metric, Reading, fitting, numbers
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.quantities import LEAST_ERROR
from edgelift_builder.judge.scored import Sums


def keypoints(case: Case) -> Iterator[Reading]:
    """Normalised mean error: distance of each point to its label ÷ the diagonal of the box around the labelled points.

    Labels are `[n, points, 2]`, flat `[n, 2 * points]`, or `[n, points, 3]` where a third number of 0 says that a point is
    not labelled (COCO's visibility: 0, 1 or 2); outputs are of the same kinds, a third number of theirs being their
    confidence, which may not go blind. Where third numbers of both are something else, they are places in space.
    """
    labels = np.asarray(case.labels)
    if ragged.is_ragged(labels) or labels.dtype.kind not in "fiu" or labels.ndim < 2:
        return
    points = _points(labels)
    if points is None:
        return
    flat, there = points[..., :2], np.ones(points.shape[:2], bool)
    solid = points.shape[-1] == 3 and not np.isin(points[..., 2], (0, 1, 2)).all()
    seen = np.asarray(points[..., 2] > 0) if points.shape[-1] == 3 else there
    for name in fitting(case, lambda a: not is_text(a) and _points_of(a, flat) is not None):
        array = case.reference[name]
        third = array.size == 3 * there.size
        if solid and third:
            yield (_error(name, points, there),)
        else:
            sure = (agreement.of(name, array, agreement.BLIND),) if third else ()
            yield (_error(name, flat, seen), *sure)


def _points(array: Array) -> Array | None:
    """float64[n, points, 2 or 3]."""
    if array.ndim == 3 and array.shape[2] in (2, 3):
        return numbers(array)
    return numbers(array).reshape(len(array), -1, 2) if array.ndim == 2 and array.shape[1] % 2 == 0 else None


def _points_of(array: Array, right: Array) -> Array | None:
    """An output's points, float64[n, points, 2], or 3 where `right` has as many."""
    count, axes = right.shape[1:]
    for width in (2, 3):
        if len(array) == len(right) and array.size == len(right) * count * width and array.ndim in (2, 3):
            return numbers(array).reshape(len(array), count, width)[..., :axes]
    return None


def _sizes(right: Numbers, there: Array) -> Numbers:
    """The diagonal around each sample's labelled points; where that is nothing (one point) that around all samples'."""
    low = np.where(there[..., None], right, np.inf).min(axis=1)
    high = np.where(there[..., None], right, -np.inf).max(axis=1)
    spans = np.where(there.any(axis=1, keepdims=True), high - low, 0.0)
    sizes: Numbers = np.linalg.norm(spans, axis=-1)
    labelled: Numbers = right[there]
    whole = float(np.linalg.norm(np.ptp(labelled, axis=0))) if len(labelled) else 1.0
    varied = [size for size in sizes.tolist() if size > 0]
    usual = float(np.median(varied)) if varied else whole
    return np.where(sizes > 1e-3 * usual, sizes, usual) if usual > 0 else np.ones(len(sizes))


def _error(name: str, right: Numbers, there: Array) -> Metric:
    sizes = _sizes(right, there)[:, None]

    def parts(found: Array) -> Sums:
        far = np.linalg.norm(found - right, axis=-1) / sizes
        rows = np.stack([(far * there).sum(axis=1), there.sum(axis=1)], axis=1)
        return Sums(rows.astype(np.float64), lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1))

    def score(out: DataSet) -> Sums:
        found = _points_of(out[name], right)
        assert found is not None
        return parts(found)

    middle = np.broadcast_to(_middle(right, there), right.shape)
    constant = float(parts(middle).under(np.ones((1, len(right))))[0])
    words = f"{name} against the labels, by the size of what they mark"
    return Metric(
        Measure("NME", better="lower", unit="percent", least=LEAST_ERROR), score, words, constant, looks_at=(name,)
    )


def _middle(right: Numbers, there: Array) -> Numbers:
    """Each point's mean place, float64[points, 2]."""
    counts = np.maximum(there.sum(axis=0), 1)[:, None]
    made: Numbers = np.where(there[..., None], right, 0).sum(axis=0) / counts
    return made
