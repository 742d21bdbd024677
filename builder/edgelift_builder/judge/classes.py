"""Metrics of models that choose a class for each sample: one of many, one of two, or several at once.

Class numbers are integers from 0; a label below 0 says that a sample is not to be judged (the convention of torch's losses).
Where nearly all samples are of one class, accuracy says little (always saying that one gets nearly all of it): there it is
balanced accuracy, the mean over classes of the share that is found, and for one score whose threshold finds nothing ROC AUC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge import agreement
from edgelift_builder.judge.case import Case, Metric, Reading, fitting, in_rows, numbers
from edgelift_builder.judge.judgement import interval
from edgelift_builder.judge.labelled import are_yes_or_no, check_some, column, whole
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample, RankedBy, Scored, Sums, value
from edgelift_builder.judge.vanished import Right

ACCURACY = Measure("accuracy")
BALANCED = Measure("balanced accuracy")
AUC = Measure("ROC AUC")

#: The share of samples of one class from which on accuracy says little.
SKEWED = 0.75

#: Outputs → a class number for each sample.
Choose = Callable[[DataSet], Array]


def classification(case: Case) -> Iterator[Reading]:
    """Is the largest score that of the right class; for text, is the answer the same to the letter."""
    labels = np.asarray(case.labels)
    if is_text(labels):
        yield from _texts(case, labels.reshape(len(labels), -1))
        return
    right = whole(column(labels)) if labels.size == len(labels) else labels.argmax(-1)
    if right is None or labels.ndim > 2:
        return
    check_some(right >= 0)
    for name in fitting(case, lambda a: _one_each(a, labels, int(right.max(initial=0)))):
        yield (_of(name, right),)


def _of(name: str, right: Array) -> Metric:
    return chosen(lambda out: _largest(out[name]), right, right >= 0, name, f"the largest of {name}")


def _one_each(array: Array, labels: Array, last: int) -> bool:
    if is_text(array) or len(array) != len(labels):
        return False
    if array.dtype.kind in "iub":  # classes chosen in the model
        return array.size == len(array)
    found = in_rows(array)
    if labels.size != len(labels):
        return found.shape == labels.shape
    return found.ndim == 2 and found.shape[1] > max(1, last)


def _largest(array: Array) -> Array:
    if array.dtype.kind in "iub":
        return array.reshape(len(array)).astype(np.int64)
    found: Array = in_rows(array).argmax(-1)
    return found


def chosen(found: Choose, right: Array, judged: Array, name: str, words: str) -> Metric:
    """Accuracy of what was chosen or, where classes are skewed, balanced accuracy; the other one beside.

    Args:
        found: outputs → int[n].
        right: int[n].
        judged: bool[n], which of them count.
        name: the output it looks at.
        words: for people.
    """
    kinds, counts = np.unique(right[judged], return_counts=True)

    def rights(out: DataSet) -> Right:
        hits = np.flatnonzero((found(out) == right) & judged)
        return Right(right[hits], hits)

    def accuracy(out: DataSet) -> Scored:
        hits = (found(out) == right).astype(np.float64)
        return (
            PerSample(hits)
            if judged.all()
            else Sums(np.stack([hits * judged, judged * 1.0], 1), ratio, float(judged.sum()))
        )

    def balanced(out: DataSet) -> Scored:
        of = ((right[:, None] == kinds) & judged[:, None]).astype(np.float64)
        found_of = of * (found(out) == right)[:, None]
        return Sums(np.concatenate([found_of, of], axis=1), mean_recall, float(len(kinds) * counts.min()))

    most = float(counts.max(initial=0) / max(1, counts.sum()))
    if most >= SKEWED and len(kinds) > 1:
        said = f"{words}: {100 * most:.1f} % of the samples are of one class"
        beside = {ACCURACY.name: lambda out: value(accuracy(out))}
        return Metric(BALANCED, balanced, said, 1 / len(kinds), beside, (name,), rights=rights)
    return Metric(
        ACCURACY, accuracy, words, most, {BALANCED.name: lambda out: value(balanced(out))}, (name,), rights=rights
    )


def ratio(sums: Numbers) -> Numbers:
    """Right ÷ judged, float64[rows, 2]: float64[rows]."""
    made: Numbers = sums[:, 0] / np.maximum(sums[:, 1], 1)
    return made


def mean_recall(sums: Numbers) -> Numbers:
    """Found of each class, then all of each class: the mean share over classes that occur (as scikit-learn has it)."""
    got, of = np.split(sums, 2, axis=1)
    made: Numbers = (got / np.maximum(of, 1)).sum(axis=1) / np.maximum((of > 0).sum(axis=1), 1)
    return made


def _texts(case: Case, right: Array) -> Iterator[Reading]:
    def same(found: Array) -> Numbers:
        made: Numbers = (found.reshape(right.shape) == right).mean(axis=1, dtype=np.float64)
        return made

    for name in fitting(case, lambda a: is_text(a) and a.size == right.size and len(a) == len(right)):
        yield (
            Metric(
                ACCURACY, lambda out, n=name: PerSample(same(out[n])), f"{name}, to the letter", most(right),  # type: ignore[misc]  # n is bound early
                looks_at=(name,),
            ),
        )  # fmt: skip


def most(labels: Array) -> float:
    """The share of the commonest label: what always giving that one would get."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max(initial=0) / max(1, labels.size))


def binary(case: Case) -> Iterator[Reading]:
    """One score per sample at its threshold, a half for shares and 0 for what leaves [0, 1]; or one for each side."""
    labels = np.asarray(case.labels)
    if is_text(labels) or ragged.is_ragged(labels) or labels.size != len(labels):
        return
    right = (column(labels) > 0).astype(np.int64)
    for name in fitting(
        case, lambda a: not is_text(a) and len(a) == len(right) and a.size in (len(a), 2 * len(a))
    ):
        if case.reference[name].size == 2 * len(right):
            if are_yes_or_no(labels):
                yield (_of(name, right),)
        else:
            yield _one_score(case, name, right)


def _one_score(case: Case, name: str, right: Array) -> Reading:
    threshold = threshold_of(case.reference[name])

    def score(out: DataSet) -> Numbers:
        return numbers(out[name]).reshape(-1)

    def found(out: DataSet) -> Array:
        return (score(out) > threshold).astype(np.int64)

    metric = chosen(found, right, np.ones(len(right), bool), name, f"{name} above {threshold:g}")
    ranked = Metric(
        AUC, lambda out: RankedBy(score(out), right.astype(np.float64)), f"{name}, {metric.words}", 0.5,
        {metric.measure.name: lambda out: value(metric.score(out))}, (name,),
    )  # fmt: skip
    reached = interval(metric.score(case.reference))[0] > (metric.constant or 0)
    if reached or metric.measure != BALANCED or interval(ranked.score(case.reference))[0] <= 0.5:
        beside = {**metric.beside, AUC.name: lambda out: value(ranked.score(out))}
        return (Metric(metric.measure, metric.score, metric.words, metric.constant, beside, (name,)),)
    # The threshold finds next to nothing of a rare class, though the score tells it: by order, and by values.
    return (ranked, agreement.of(name, case.reference[name]))


def threshold_of(scores: Array) -> float:
    """Where a score of one class says yes: at a half, where all are shares of 1, else (logits) at 0."""
    return 0.5 if bool(((scores >= 0) & (scores <= 1)).all()) else 0.0


def multilabel(case: Case) -> Iterator[Reading]:
    """F1 over all samples and labels together (micro), each label at its threshold; and no label's scores may go blind."""
    labels = np.asarray(case.labels)
    if not are_yes_or_no(labels):
        return
    right = labels.reshape(len(labels), -1) > 0
    for name in fitting(case, lambda a: not is_text(a) and a.size == right.size and len(a) == len(right)):
        yield _several(case, name, right)


def _several(case: Case, name: str, right: Array) -> Reading:
    threshold = threshold_of(case.reference[name])

    def parts(out: DataSet) -> Sums:
        found = numbers(out[name]).reshape(right.shape) > threshold
        held = [(found & right).sum(1), (found & ~right).sum(1), (~found & right).sum(1)]
        return Sums(np.stack(held, axis=1).astype(np.float64), f1, float(right.sum()))

    def rights(out: DataSet) -> Right:
        samples, labels = np.nonzero((numbers(out[name]).reshape(right.shape) > threshold) & right)
        return Right(labels, samples)

    share, words = right.mean(), f"{name} above {threshold:g}, all labels together"
    metric = Metric(Measure("F1"), parts, words, float(2 * share / (1 + share)), looks_at=(name,), rights=rights)
    return (metric, agreement.of(name, case.reference[name], agreement.BLIND))


def f1(sums: Numbers) -> Numbers:
    """F1 of (right, wrong, missed), float64[rows, 3]: float64[rows]; 1 where nothing was to be found and nothing was."""
    right, wrong, missed = sums.T
    total = 2 * right + wrong + missed
    made: Numbers = np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)
    return made
