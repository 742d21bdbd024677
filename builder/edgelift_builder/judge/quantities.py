"""Metrics of models that say numbers: how far they are off, in the numbers' own unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge import agreement
from edgelift_builder.judge.case import Case, Metric, Reading, fitting, in_rows, numbers
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample, value

#: An error below this share of the labels' spread counts as that much: of a model without any error, every loss would be
#: infinitely many per cent.
LEAST_ERROR = 0.01

#: Several targets of which one varies so many times as much as another have no unit in common.
_UNLIKE = 3.0


def regression(case: Case) -> Iterator[Reading]:
    """Mean absolute error over all numbers of a sample; RMSE and R² beside.

    Several targets in units of their own (degrees beside pascals) count alike: each is off by so much of its labels' spread.
    Every one of several is held to float's values too, for a mean shows little of one that has gone blind.
    """
    labels = np.asarray(case.labels)
    if is_text(labels) or ragged.is_ragged(labels):
        return
    right = numbers(labels).reshape(len(labels), -1)
    for name in fitting(case, lambda a: not is_text(a) and a.size == right.size and len(a) == len(right)):
        metric = _off(name, right, labels.ndim)
        several = (agreement.of(name, case.reference[name]),) if right.shape[1] > 1 else ()
        yield (metric, *several)


def _off(name: str, right: Numbers, axes: int) -> Metric:
    spread = right.std(axis=0)
    varies = spread[spread > 0]
    unlike = axes == 2 and len(varies) > 1 and varies.max() > _UNLIKE * varies.min()
    scale = np.where(spread > 0, spread, varies.mean()) if unlike else np.ones(right.shape[1])

    def off(out: DataSet) -> Numbers:
        made: Numbers = (numbers(out[name]).reshape(right.shape) - right) / scale
        return made

    least = LEAST_ERROR * float((spread / scale).mean()) or 1e-12
    measure = Measure("MAE ÷ spread" if unlike else "MAE", better="lower", unit="percent", least=least)
    words = f"{name} against the labels" + (", each target by its own spread" if unlike else "")
    always = PerSample((np.abs(right - np.median(right, axis=0)) / scale).mean(axis=1))
    return Metric(
        measure,
        lambda out: PerSample(np.abs(off(out)).mean(axis=1)),
        words,
        value(always),
        {
            "RMSE": lambda out: float(np.sqrt((off(out) ** 2).mean())),
            "R²": lambda out: _r2(right, off(out) * scale),
        },
        (name,),
        always,
    )


def _r2(right: Numbers, off: Numbers) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(right, right + off))


def embedding(case: Case) -> Iterator[Reading]:
    """Mean cosine to the labels, or to the float model's own where there are none."""
    labels = None if case.labels is None else np.asarray(case.labels)
    if labels is not None and labels.dtype.kind not in "fiu":
        return
    for name in fitting(case, lambda a: a.ndim >= 2 and a.dtype.kind == "f"):
        array = case.reference[name]
        if labels is None or (labels.size == array.size and len(labels) == len(array)):
            right = numbers(array) if labels is None else numbers(labels).reshape(array.shape)
            yield (_near(name, right, "float's own" if labels is None else "the labels"),)


def _near(name: str, right: Numbers, against: str) -> Metric:
    middle = np.broadcast_to(right.mean(axis=0), right.shape)
    return Metric(
        Measure("cosine"),
        lambda out: PerSample(cosine(numbers(out[name]), right)),
        f"{name} against {against}",
        float(cosine(middle, right).mean()),
        {"rank agreement": lambda out: rank_agreement(_flat(numbers(out[name])), _flat(right))},
        () if against == "float's own" else (name,),
    )


def _flat(array: Array) -> Array:
    return array.reshape(len(array), -1)


def cosine(one: Array, other: Array) -> Numbers:
    """Cosine of each sample's vectors, float64[n], the mean over several of one sample; of nothing with anything 0."""
    one, other = in_rows(one), in_rows(other)  # [n, size, 1, 1] is one vector, not many of one number
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
