"""Asks the float model as a device does, one sample at a time: the reference that everything is judged by.

Also told from answers: which axis of each output counts the samples, and whether the model takes several samples at once
and answers each as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgelift_builder import calls, data, ragged
from edgelift_builder.data import DataSet
from edgelift_builder.measure.evaluate import apart, largest_difference, spread
from edgelift_contract.errors import ContractError, EdgeliftError

#: Pairs of samples that are asked in one call: what a batch adds up only shows where it changes something.
PAIRS = 16

#: One call in, its answer out.
Ask = Callable[[DataSet], DataSet]

#: The same call is answered the same, but for the order in which threads add up: a share of the answer's range. Noise that
#: is smaller than what matters would still fail the goldens, which are kept to the bit.
SETTLED = 1e-5

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
    _check_settled(ask(calls.one(samples, 0, axes)), answers[0])
    pairs = _pairs(ask, samples, axes, answers) if may_batch else []
    found = {name: _axis(answers, pairs[0][1] if pairs else None, name) for name in answers[0]}
    counted = any(axis is not None for axis in found.values())
    ranges = {name: spread(ragged.stack([answer[name] for answer in answers])) for name in answers[0]}
    batch_free = bool(pairs) and counted and all(_alike(alone, both, found, ranges) for alone, both in pairs)
    if pairs and not batch_free:
        found = {name: _axis(answers, None, name) for name in answers[0]}
    shapes = {name: _shape([answer[name] for answer in answers]) for name in answers[0]}
    return Answers(calls.together(answers, found), found, shapes, batch_free)


def _check_settled(again: DataSet, first: DataSet) -> None:
    """Refuse what answers by chance: nothing that is measured of it holds.

    Raises:
        ContractError: `source-invalid`.
    """
    for name, answer in first.items():
        if answer.shape != again[name].shape or largest_difference({name: again[name]}, {name: answer}) > SETTLED:
            raise ContractError(
                "source-invalid",
                f"The model answers the same sample otherwise each time: {name} is drawn by chance, or kept between calls.",
                hint="Take what is random out of it (dropout in training mode, noise), and hand state in and out.",
            )


def _pairs(
    ask: Ask, samples: DataSet, axes: calls.Axes, answers: list[DataSet]
) -> list[tuple[list[DataSet], DataSet]]:
    """What two neighbours are answered alone and in one call, of some over all samples; empty where such a call cannot be
    made or is not answered.
    """
    if len(answers) < 2 or any(ragged.is_ragged(column) for column in samples.values()):
        return []
    starts = np.unique(np.linspace(0, len(answers) - 2, PAIRS).astype(int)).tolist()
    try:
        return [(answers[k : k + 2], ask(calls.several(samples, k, k + 2, axes))) for k in starts]
    except EdgeliftError:
        return []  # it takes one at a time


def _axis(answers: list[DataSet], pair: DataSet | None, name: str) -> int | None:
    first = answers[0][name]
    if pair is None:
        return 0 if all(a[name].ndim and a[name].shape[0] == 1 for a in answers) else None
    both = pair[name]
    if both.ndim != first.ndim:
        return None
    grown = [k for k, (one, two) in enumerate(zip(first.shape, both.shape, strict=True)) if (one, two) == (1, 2)]
    return grown[0] if len(grown) == 1 else None


def _alike(answers: Sequence[DataSet], pair: DataSet, axes: calls.Axes, ranges: Mapping[str, float]) -> bool:
    """Does each of two samples get the answer that it gets alone; what has no sample axis is then the same for both."""
    for name, axis in axes.items():
        alone = [answer[name] for answer in answers]
        if axis is not None and (pair[name].ndim <= axis or pair[name].shape[axis] != 2):
            return False
        at_once = [pair[name]] * 2 if axis is None else np.split(pair[name], 2, axis=axis)
        if any(one.shape != other.shape for one, other in zip(alone, at_once, strict=True)):
            return False
        if apart(np.stack(at_once), np.stack(alone)) > ALIKE * (ranges[name] or 1.0):
            return False
    return True


def shapes_of_any_length(
    ask: Ask, call: DataSet, free: Mapping[str, Sequence[int]], shapes: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    """`shapes` of the outputs, -1 where they change with the lengths that inputs are free to have.

    Args:
        ask: the model.
        call: one call of it.
        free: the axes of each input that may have any length, but for samples.
        shapes: the outputs' as all samples have them.
    """
    shorter = dict(call)
    for name, axes in free.items():
        for axis in axes:
            length = shorter[name].shape[axis]
            shorter[name] = np.ascontiguousarray(np.take(shorter[name], range((length + 1) // 2), axis))
    try:
        answer, other = ask(call), ask(shorter)
    except EdgeliftError:
        return dict(shapes)  # it takes no shorter ones: as long as they are is what is known
    return {
        name: [
            -1 if known != -1 and n != m else known
            for known, n, m in zip(shape, answer[name].shape, other[name].shape, strict=True)
        ]
        if len(shape) == answer[name].ndim == other[name].ndim
        else shape
        for name, shape in shapes.items()
    }


def _shape(answers: list[data.Array]) -> list[int]:
    ranks = {answer.ndim for answer in answers}
    if len(ranks) > 1:
        return []
    lengths = zip(*(answer.shape for answer in answers), strict=True)
    return [found[0] if len(set(found)) == 1 else -1 for found in lengths]
