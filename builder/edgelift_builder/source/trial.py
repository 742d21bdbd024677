"""Asks the float model as a device does, one sample at a time: the reference that everything is judged by.

Also told from answers: which axis of each output counts the samples, and whether the model takes several samples at once
and answers each as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgelift_builder import calls, data, ragged
from edgelift_builder.data import DataSet
from edgelift_builder.measure.evaluate import largest_difference
from edgelift_contract.errors import EdgeliftError

#: One call in, its answer out.
Ask = Callable[[DataSet], DataSet]

#: Two samples in one call are answered as each alone when the answers lie no further apart than this share of their range:
#: kernels for a batch add in another order (0.65 % in one float file), and dynamic int8 has one scale for all of them.
ALIKE = 1e-2


@dataclass(frozen=True)
class Answers:
    """What the float model says.

    Attributes:
        reference: its outputs for every evaluation sample.
        axes: the sample axis of each output in a call.
        shapes: lengths of each output's axes in a call, -1 where they vary.
        batch_free: does it take any number of samples at once.
    """

    reference: DataSet
    axes: dict[str, int | None]
    shapes: dict[str, list[int]]
    batch_free: bool


def ask_all(ask: Ask, samples: DataSet, axes: calls.Axes, *, may_batch: bool) -> Answers:
    """Ask for every sample of `samples`, each alone; `may_batch`: does nothing forbid that several are asked at once."""
    answers = [ask(call) for call in calls.each(samples, axes)]
    pair = _pair(ask, samples, axes, answers) if may_batch else None
    found = {name: _axis(answers, pair, name) for name in answers[0]}
    batch_free = (
        pair is not None and any(axis is not None for axis in found.values()) and _alike(answers, pair, found)
    )
    if pair is not None and not batch_free:
        found = {name: _axis(answers, None, name) for name in answers[0]}
    shapes = {name: _shape([answer[name] for answer in answers]) for name in answers[0]}
    return Answers(calls.together(answers, found), found, shapes, batch_free)


def _pair(ask: Ask, samples: DataSet, axes: calls.Axes, answers: list[DataSet]) -> DataSet | None:
    """The answer to the first two samples in one call, where such a call can be made and is answered."""
    if len(answers) < 2 or any(ragged.is_ragged(column) for column in samples.values()):
        return None
    try:
        return ask(calls.several(samples, 0, 2, axes))
    except EdgeliftError:
        return None  # it takes one at a time


def _axis(answers: list[DataSet], pair: DataSet | None, name: str) -> int | None:
    first = answers[0][name]
    if pair is None:
        return 0 if all(a[name].ndim and a[name].shape[0] == 1 for a in answers) else None
    both = pair[name]
    if both.ndim != first.ndim:
        return None
    grown = [k for k, (one, two) in enumerate(zip(first.shape, both.shape, strict=True)) if (one, two) == (1, 2)]
    return grown[0] if len(grown) == 1 else None


def _alike(answers: list[DataSet], pair: DataSet, axes: calls.Axes) -> bool:
    """Does each of two samples get the answer that it gets alone; what has no sample axis is then the same for both."""
    for name, axis in axes.items():
        alone = [answer[name] for answer in answers[:2]]
        at_once = [pair[name]] * 2 if axis is None else np.split(pair[name], 2, axis=axis)
        if any(one.shape != other.shape for one, other in zip(alone, at_once, strict=True)):
            return False
        if largest_difference({name: np.stack(at_once)}, {name: np.stack(alone)}) > ALIKE:
            return False
    return True


def _shape(answers: list[data.Array]) -> list[int]:
    ranks = {answer.ndim for answer in answers}
    if len(ranks) > 1:
        return []
    lengths = zip(*(answer.shape for answer in answers), strict=True)
    return [found[0] if len(set(found)) == 1 else -1 for found in lengths]
