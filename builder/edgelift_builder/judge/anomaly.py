"""Anomaly detection: how well a score tells what is odd from what is usual (labels 1 and 0), by ROC AUC."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, numbers, refuse
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import RankedBy


def anomaly(case: Case) -> Metric:
    """ROC AUC of the model's own score, or of its error where it rebuilds its input (an autoencoder)."""
    odd = (np.asarray(case.labels).reshape(-1) > 0).astype(np.float64)
    for name, array in case.reference.items():
        if is_text(array) or len(array) != len(odd):
            continue
        given = next((numbers(a) for a in case.inputs.values() if a.shape == array.shape and not is_text(a)), None)
        if given is not None and array.size > len(array):
            return _metric(partial(_rebuilt, name, given), odd, f"how far {name} is from the input")
        if array.size == len(array):
            return _metric(partial(_own, name), odd, f"the score {name}")
    raise refuse(
        "anomaly", case, "It needs one score per sample, or an output of the input's shape, and labels 0 or 1."
    )


def _own(name: str, outputs: DataSet) -> Numbers:
    return numbers(outputs[name]).reshape(-1)


def _rebuilt(name: str, given: Array, outputs: DataSet) -> Numbers:
    made: Numbers = ((numbers(outputs[name]) - given) ** 2).reshape(len(given), -1).mean(axis=1)
    return made


def _metric(score: Callable[[DataSet], Numbers], odd: Numbers, words: str) -> Metric:
    return Metric(Measure("ROC AUC"), lambda out: RankedBy(score(out), odd), words, 0.5)
