"""Metrics of models that say numbers: how far they are off, in the numbers' own unit."""

from __future__ import annotations

import numpy as np

from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, numbers, pick, refuse
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample

#: An error below this share of the labels' spread counts as that much: of a model without any error, every loss would be
#: infinitely many per cent.
LEAST_ERROR = 0.01


def regression(case: Case) -> Metric:
    """Mean absolute error over all numbers of a sample; RMSE and R² beside."""
    labels = np.asarray(case.labels)
    name = pick(case, lambda a: not is_text(a) and a.size == labels.size and len(a) == len(labels))
    if name is None:
        raise refuse("regression", case, "It needs as many numbers per sample as there are labels of it.")
    right = numbers(labels).reshape(len(labels), -1)

    def off(out: DataSet) -> Numbers:
        return numbers(out[name]).reshape(right.shape) - right

    middle = np.median(right, axis=0)
    return Metric(
        Measure(
            "MAE", better="lower", unit="percent", least=LEAST_ERROR * float(right.std(axis=0).mean()) or 1e-12
        ),
        lambda out: PerSample(np.abs(off(out)).mean(axis=1)),
        f"{name} against the labels",
        float(np.abs(right - middle).mean()),
        {"RMSE": lambda out: float(np.sqrt((off(out) ** 2).mean())), "R²": lambda out: _r2(right, off(out))},
    )


def _r2(right: Numbers, off: Numbers) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(right, right + off))


def embedding(case: Case) -> Metric:
    """Mean cosine to the labels, or to the float model's own where there are none."""
    wanted = case.labels if case.labels is not None else None
    labels = None if wanted is None else numbers(wanted)
    name = pick(case, lambda a: a.ndim >= 2 and not is_text(a) and (labels is None or a.shape == labels.shape))
    if name is None:
        raise refuse("embedding", case, "It needs a vector per sample, and labels of the same shape or none.")
    right = numbers(case.reference[name]) if labels is None else labels
    against = "float's own" if labels is None else "the labels"
    return Metric(
        Measure("cosine"),
        lambda out: PerSample(cosine(numbers(out[name]), right)),
        f"{name} against {against}",
        float(cosine(np.broadcast_to(_flat(right).mean(axis=0), _flat(right).shape), _flat(right)).mean()),
        {"rank agreement": lambda out: rank_agreement(_flat(numbers(out[name])), _flat(right))},
    )


def _flat(array: Array) -> Array:
    return array.reshape(len(array), -1)


def cosine(one: Array, other: Array) -> Numbers:
    """Cosine of each sample's vectors, float64[n], the mean over several of one sample; of nothing with anything 0."""
    one, other = one.reshape(len(one), -1, one.shape[-1]), other.reshape(len(other), -1, other.shape[-1])
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    made: Numbers = ((one * other).sum(-1) / np.maximum(lengths, 1e-30)).mean(axis=1)
    return made


#: Samples among which neighbours are compared.
_NEIGHBOURS = 1000


def rank_agreement(one: Array, other: Array) -> float:
    """In how many samples the nearest other sample, by cosine, is the same: what a search would find."""

    def nearest(vectors: Array) -> Array:
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
        near = unit @ unit.T
        np.fill_diagonal(near, -np.inf)
        found: Array = near.argmax(axis=1)
        return found

    return float((nearest(one[:_NEIGHBOURS]) == nearest(other[:_NEIGHBOURS])).mean())


def keypoints(case: Case) -> Metric:
    """Normalised mean error: distance of each point to its label ÷ the diagonal of the box around the labelled points."""
    labels = numbers(np.asarray(case.labels))
    flat = labels.reshape(len(labels), -1)
    name = pick(case, lambda a: not is_text(a) and a.size == labels.size and len(a) == len(labels))
    if name is None or flat.shape[1] % 2 or labels.shape[-1] not in (2, flat.shape[1]):
        raise refuse("keypoints", case, "It needs points [n, points, 2] and labels of the same shape.")
    right = flat.reshape(len(flat), -1, 2)
    size = np.maximum(np.linalg.norm(right.max(1) - right.min(1), axis=-1), 1e-9)

    def error(found: Array) -> Numbers:
        made: Numbers = np.linalg.norm(found.reshape(right.shape) - right, axis=-1).mean(axis=1) / size
        return made

    return Metric(
        Measure("NME", better="lower", unit="percent", least=LEAST_ERROR),
        lambda out: PerSample(error(numbers(out[name]))),
        f"{name} against the labels, by the size of what they mark",
        float(error(np.broadcast_to(right.mean(axis=0), right.shape)).mean()),
    )
