"""Chooses how a TFLite model is quantised: by whose calibration, and what stays float, by the error of its answers.

Judged on calibration samples against the float file's own answers, not on the evaluation data, which judge what comes of it.
The error is that of the worst channel of the worst output (`judge.agreement`), the usual measure for values. What the task
makes of an error is another matter: classes may be told apart as well as before with answers 7 % off. So before anything
goes back to float, which costs time, the verdict on all of it in 8 bits is asked for, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelift_builder import calls, data, ragged
from edgelift_builder.judge import agreement
from edgelift_builder.measure.litert import LitertSession
from edgelift_builder.piece import LayerLoss

#: Calibration samples that ways are compared on, evenly spaced.
SAMPLES = 64

#: Errors below this are left as they are; over the second, where the verdict isn't good, layers go back to float.
#: `agreement.LIMIT` is what may ship.
FINE, BAD = 0.02, 0.5 * agreement.LIMIT / 100

#: What stays float has to take this share of the error away: it costs size and time.
WORTH = 0.8

#: And another calibration than the first this share: what is cut off may come again, and was rare on few samples.
BETTER = 0.9

#: Files up to this size have their layers tried one by one.
SMALL_BYTES = 16 << 20

#: Makes a file by a calibration, with some operators left in float.
Make = Callable[[str, Sequence[str]], bytes]

#: Tells whether a file keeps its budget.
Holds = Callable[[bytes], bool]


@dataclass(frozen=True)
class Chosen:
    """What came out best.

    Attributes:
        model: the file.
        method: of `tflite_ranges.METHODS`.
        kept: scopes of the operators left in float.
        error: of the worst channel, as a share of its own variation; losses: of each layer tried.
    """

    model: bytes
    method: str
    kept: tuple[str, ...]
    error: float
    losses: tuple[LayerLoss, ...] = ()


class Comparison:
    """Holds a quantised file against the float file's answers on some samples."""

    def __init__(self, model: bytes, samples: data.DataSet, axes: calls.Axes, folder: Path) -> None:
        """Run the float file."""
        chosen = np.linspace(0, data.length(samples) - 1, min(SAMPLES, data.length(samples))).astype(int)
        self._calls = [calls.one(samples, int(i), axes) for i in chosen]
        self._folder = folder
        self._wanted = self._answers(model)

    def error(self, model: bytes) -> float:
        """Of the worst channel of the worst output; infinite where an output has another shape or NaN."""
        found = self._answers(model)
        return max((_error(found[name], wanted) for name, wanted in self._wanted.items()), default=0.0)

    def _answers(self, model: bytes) -> data.DataSet:
        found = answers(model, self._calls, self._folder)
        return {name: ragged.stack([answer[name] for answer in found]) for name in found[0]}


def answers(model: bytes, asked: Iterable[data.DataSet], folder: Path) -> list[data.DataSet]:
    """What a file answers to each call. `folder`: where it may lie meanwhile."""
    file = folder / "tried.tflite"
    file.write_bytes(model)
    try:
        session = LitertSession(file, 1, None, {})
        return [session.run(call) for call in asked]
    finally:
        file.unlink()


def _error(found: data.Array, wanted: data.Array) -> float:
    if ragged.is_ragged(wanted) or ragged.is_ragged(found):
        pairs = zip(found, wanted, strict=True)
        return float(np.mean([agreement.relative_error(one[None], other[None]) for one, other in pairs]))
    if not np.issubdtype(wanted.dtype, np.floating):
        return float(np.mean(found != wanted))
    return agreement.relative_error(found, wanted)


def choose(
    make: Make,
    trial: Comparison,
    methods: Sequence[str],
    spared: Sequence[Sequence[str]],
    layers: Sequence[tuple[str, str]],
    revert: int,
    holds: Holds,
) -> Chosen:
    """The way with the least error, or all in 8 bits where that is good enough.

    Args:
        make: makes a file.
        trial: judges it.
        methods: calibrations, the one to prefer first.
        spared: what may be left in float, the cheapest first: nothing, the tail, the last layers with it, all but those.
        layers: heavy operators in order.
        revert: most of them that may go back to float.
        holds: says of all in 8 bits, where its answers are more than a little off, whether they matter.
    """
    best = _by_calibration([_try(make, trial, method, tuple(spared[0])) for method in methods])
    if best.error <= FINE or holds(best.model):
        return best
    for kept in spared[1:]:
        found = _by_calibration([_try(make, trial, method, tuple(kept)) for method in methods])
        best = found if found.error < WORTH * best.error else best
        if best.error <= BAD:
            break
    if best.error <= BAD or not revert or len(best.model) > SMALL_BYTES:
        return best
    return _revert(make, trial, best, layers, revert)


def nearer(trial: Comparison, model: bytes, other: bytes) -> bytes:
    """Whichever of two files answers nearer to float."""
    return other if other != model and trial.error(other) < trial.error(model) else model


def _by_calibration(tried: Sequence[Chosen]) -> Chosen:
    best = tried[0]
    for other in tried[1:]:
        best = other if other.error < BETTER * best.error else best
    return best


def _try(make: Make, trial: Comparison, method: str, kept: tuple[str, ...]) -> Chosen:
    model = make(method, kept)
    return Chosen(model, method, kept, trial.error(model))


def _revert(make: Make, trial: Comparison, best: Chosen, layers: Sequence[tuple[str, str]], revert: int) -> Chosen:
    """Put those layers back whose absence takes most of the error away, one after another, until it is no longer bad."""
    alone = {scope: _try(make, trial, best.method, (*best.kept, scope)).error for scope, _ in layers}
    kinds, tried = dict(layers), best
    for scope in sorted(alone, key=lambda s: alone[s])[: min(revert, len(layers) - 1)]:
        tried = _try(make, trial, best.method, (*tried.kept, scope))
        if tried.error <= BAD:
            break
    chosen = tried if tried.error < WORTH * best.error else best
    losses = [
        LayerLoss(f"{scope.rstrip(';')} ({kinds[scope]})", max(0.0, best.error - error), scope in chosen.kept)
        for scope, error in sorted(alone.items(), key=lambda item: item[1])
    ]
    return Chosen(chosen.model, chosen.method, chosen.kept, chosen.error, tuple(losses))
