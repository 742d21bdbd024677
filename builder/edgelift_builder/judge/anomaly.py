"""Anomaly detection: how well a score tells what is odd from what is usual (labels 1 and 0), by ROC AUC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, Reading, fitting, numbers
from edgelift_builder.judge.labelled import are_yes_or_no
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import RankedBy
from edgelift_contract.errors import ContractError


def anomaly(case: Case) -> Iterator[Reading]:
    """ROC AUC of the model's own score, or of its error where it rebuilds its input (an autoencoder)."""
    labels = np.asarray(case.labels)
    if labels.size != len(labels) or not are_yes_or_no(labels):
        return
    odd = (labels.reshape(-1) > 0).astype(np.float64)
    if odd.min() == odd.max():
        kinds = ("usual", "odd") if odd[0] == 0 else ("odd", "usual")
        raise ContractError(
            "source-invalid",
            f"All {len(odd)} evaluation labels are {kinds[0]}: no score can tell them from others.",
            hint=f"Add samples that are {kinds[1]}; or leave the labels out, and answers are held to the float model's.",
        )
    for name in fitting(case, lambda a: not is_text(a) and len(a) == len(odd)):
        array = case.reference[name]
        if array.size == len(array):
            yield (_metric(partial(_own, name), odd, f"the score {name}", name),)
        for given in _inputs(case, array):
            yield (_metric(partial(_rebuilt, name, given), odd, f"how far {name} is from the input", name),)


def _inputs(case: Case, array: Array) -> list[Array]:
    """The inputs that an output may rebuild: as many numbers for each sample, however they are laid out."""
    plain = [a for a in case.inputs.values() if not (is_text(a) or ragged.is_ragged(a))]
    return [numbers(a) for a in plain if len(a) == len(array) and a.size == array.size > len(array)]


def _own(name: str, outputs: DataSet) -> Numbers:
    return numbers(outputs[name]).reshape(-1)


def _rebuilt(name: str, given: Array, outputs: DataSet) -> Numbers:
    made: Numbers = (
        ((numbers(outputs[name]).reshape(given.shape) - given) ** 2).reshape(len(given), -1).mean(axis=1)
    )
    return made


def _metric(score: Callable[[DataSet], Numbers], odd: Numbers, words: str, name: str) -> Metric:
    return Metric(Measure("ROC AUC"), lambda out: RankedBy(score(out), odd), words, 0.5, looks_at=(name,))
