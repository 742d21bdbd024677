"""Holds an artifact's score against the float model's on the same samples: as an interval, not as a point.

*Holds* when even the upper end of the loss keeps the budget, *fails* when even its lower end breaks it, *cannot tell* in
between, and where there are too few samples for any interval to mean something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgelift_builder.judge import intervals
from edgelift_builder.judge.measure import Measure, Numbers, Unit
from edgelift_builder.judge.scored import UNSEEN, PerSample, Resampled, Scored, unseen, value

Verdict = Literal["holds", "fails", "cannot-tell"]

#: Rows drawn for a bootstrap, and how many of them are looked at at once.
DRAWN, _BLOCK = 2000, 100

#: What is asked for beyond the number at which the upper end would just meet the budget.
_SPARE = 1.1

#: With fewer samples neither Student's t nor a bootstrap is worth its name (both lean on the mean's being about normal).
LEAST_SAMPLES = 30


@dataclass(frozen=True)
class Judgement:
    """What the evaluation set says of one artifact.

    Attributes:
        metric, unit, n: what was measured, in what unit it loses, on how many samples.
        value, low, high: the metric and its 95 % interval.
        baseline: the float model's.
        loss, loss_low, loss_high: how much worse than float, paired, with its 95 % interval; see `Measure`.
        budget: the most that it may lose.
        lost, gained: samples only the float model, and only the artifact, has right; 0 where scores are no 0/1.
        method: which interval.
        verdict: against the budget.
        samples_needed: about how many would tell, where the verdict is `cannot-tell` and a number would do.
        called: as a budget is asked for by, see `budgets.Named`.
        room: the widest budget that there is for it: with more, an answer that looks at no input would do.
    """

    metric: str
    unit: Unit
    n: int
    value: float
    low: float
    high: float
    baseline: float
    loss: float
    loss_low: float
    loss_high: float
    budget: float
    lost: int
    gained: int
    method: str
    verdict: Verdict
    samples_needed: int | None = None
    called: str = ""
    room: float = inf

    @property
    def name(self) -> str:
        """What people call it."""
        return self.called or self.metric

    @property
    def amount(self) -> str:
        """Its budget in words: `0.5 points`."""
        return f"{self.budget:g} {'points' if self.unit == 'points' else '%'}"


@dataclass(frozen=True)
class _Told:
    """What an interval is made of: `half`, how far its upper end lies above the loss for what was seen to vary, and `least`,
    for what so few samples can't show whatever they say.
    """

    low: float
    high: float
    loss_low: float
    loss_high: float
    method: str
    half: float
    least: float = 0.0
    lost: int = 0
    gained: int = 0


def judge(measure: Measure, own: Scored, reference: Scored, budget: float) -> Judgement:
    """Hold one artifact's answers against float's, both scored by `measure` on the same samples."""
    ours, theirs = value(own), value(reference)
    loss = float(measure.loss(theirs, ours))
    if np.isfinite(loss):
        told = _tell(measure, own, reference)
    else:  # an answer without end, of which no choice of samples says anything
        loss = np.inf
        told = _Told(ours, ours, loss, loss, "none: it has no end", loss)
    said = verdict(told.loss_low, told.loss_high, budget) if own.count >= LEAST_SAMPLES else "cannot-tell"
    return Judgement(
        metric=measure.name, unit=measure.unit, n=own.count, value=ours, low=told.low, high=told.high, baseline=theirs,
        loss=loss, loss_low=told.loss_low, loss_high=told.loss_high, budget=budget, lost=told.lost, gained=told.gained,
        method=told.method, verdict=said,
        samples_needed=_needed(told, own.count, loss, budget) if said == "cannot-tell" else None,
    )  # fmt: skip


def interval(answers: Scored) -> tuple[float, float]:
    """The 95 % interval of a metric."""
    if isinstance(answers, PerSample):
        if answers.is_right_or_wrong:
            return intervals.wilson(int(answers.scores.sum()), answers.count)
        return intervals.mean_t(answers.scores)
    if isinstance(answers, Resampled):
        return _middle(answers.drawn)
    return _widened(
        answers, _middle(np.concatenate([answers.under(weights) for weights in _draws(answers.count)]))
    )


def _widened(answers: Scored, told: tuple[float, float]) -> tuple[float, float]:
    """An interval with what its samples could not show, which a share of 1 never leaves."""
    room, middle = unseen(answers), value(answers)
    if not room:
        return told
    return min(told[0], max(0.0, middle - room)), max(told[1], min(1.0, middle + room))


def _middle(drawn: Numbers) -> tuple[float, float]:
    """Between which 95 % of them lie."""
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def drawn_samples(count: int, rows: int) -> Iterator[npt.NDArray[np.int64]]:
    """Samples drawn with replacement, int64[count], `rows` times; the same ones every time."""
    drawn = np.random.default_rng(0)
    return (drawn.integers(0, count, count) for _ in range(rows))


def _draws(count: int) -> Iterator[Numbers]:
    """How often each sample counts, in `DRAWN` rows; the same ones every time, so that two models are compared in pairs."""
    drawn, rows = np.random.default_rng(0), count * np.arange(_BLOCK)[:, None]
    for _ in range(DRAWN // _BLOCK):
        places = rows + drawn.integers(0, count, (_BLOCK, count))
        yield np.bincount(places.ravel(), minlength=_BLOCK * count).reshape(_BLOCK, count).astype(np.float64)


def verdict(low: float, high: float, budget: float) -> Verdict:
    """What an interval of the loss says of a budget, all in one unit."""
    if high <= budget:
        return "holds"
    return "fails" if low > budget else "cannot-tell"


def _tell(measure: Measure, own: Scored, reference: Scored) -> _Told:
    if isinstance(own, PerSample) and isinstance(reference, PerSample) and measure.unit == "points":
        if own.is_right_or_wrong and reference.is_right_or_wrong:
            return _paired_proportions(own.scores, reference.scores)
        return _paired_shares(own, reference)
    if isinstance(own, Resampled) and isinstance(reference, Resampled):
        return _redrawn(measure, own, reference)
    return _bootstrap(measure, own, reference)


#: Where no more samples moved than this, Student's t has nothing to go by.
_FEW = 5


def _paired_shares(own: PerSample, reference: PerSample) -> _Told:
    lost = 100 * (reference.scores - own.scores)
    low, high = intervals.mean_t(lost)
    least = 100 * UNSEEN / len(lost) if np.count_nonzero(lost) <= _FEW else 0.0
    return _Told(*interval(own), low - least, high + least, "paired t interval", (high - low) / 2, least)


def _paired_proportions(own: Numbers, reference: Numbers) -> _Told:
    lost, gained = int((reference > own).sum()), int((reference < own).sum())
    low, high = intervals.tango(lost, gained, len(own))
    method, half = "Tango 1998, paired score interval", 100 * high - 100 * (lost - gained) / len(own)
    return _Told(*interval(PerSample(own)), 100 * low, 100 * high, method, half, lost=lost, gained=gained)


#: With fewer of a metric's draws than this share nothing is told: it has none of the others.
_ENOUGH_DRAWS = 0.5


def _redrawn(measure: Measure, own: Resampled, reference: Resampled) -> _Told:
    """By draws; and where in some of them nothing moved, hardly any sample moved the metric at all (of k, e^-k of all draws
    hold none): then as many more may be lost as so few samples can't show.
    """
    losses = measure.loss(reference.drawn, own.drawn)
    losses = losses[np.isfinite(losses)]
    method = f"paired bootstrap, {len(own.drawn)} draws"
    if len(losses) < _ENOUGH_DRAWS * len(own.drawn):
        return _Told(-np.inf, np.inf, -np.inf, np.inf, f"{method}, most of which have no score", np.inf)
    low, high = _middle(losses)
    least = UNSEEN * _loss_of(measure, reference) if not losses.all() else 0.0
    half = high - float(measure.loss(value(reference), value(own)))
    return _Told(*_middle(own.drawn), low - least, high + least, method, half, least)


def _loss_of(measure: Measure, reference: Resampled) -> float:
    """What one sample that goes wrong loses."""
    step = -reference.step if measure.better == "higher" else reference.step
    return float(measure.loss(reference.whole, reference.whole + step))


def _bootstrap(measure: Measure, own: Scored, reference: Scored) -> _Told:
    values, losses = [], []
    for weights in _draws(own.count):
        ours = own.under(weights)
        values.append(ours)
        losses.append(measure.loss(reference.under(weights), ours))
    low, high = _middle(np.concatenate(losses))
    least = 100 * unseen(own) if measure.unit == "points" else 0.0
    told = _widened(own, _middle(np.concatenate(values)))
    loss = float(measure.loss(value(reference), value(own)))
    half = high - loss
    low, high = (min(low, loss - least), max(high, loss + least)) if least else (low, high)
    return _Told(*told, low, high, f"paired bootstrap, {DRAWN} draws", half, least)


def _needed(told: _Told, n: int, loss: float, budget: float) -> int | None:
    """Were samples to go on as these do: what was seen to vary narrows with the root of their number, what was not seen with
    their number itself (see `scored.unseen`).
    """
    if told.method.startswith("Tango"):
        told_by = intervals.tango_samples(told.lost, told.gained, n, budget / 100)
        return None if told_by is None else max(LEAST_SAMPLES, told_by)
    room = budget - loss
    if room <= 0 or not np.isfinite(told.half):
        return None
    # half / √times + least / times is the room
    root = np.sqrt(told.half**2 + 4 * told.least * room) - told.half if told.least else 0.0
    times = (2 * told.least / root) ** 2 if root > 0 else (told.half / room) ** 2
    needed = max(LEAST_SAMPLES, int(np.ceil(_SPARE * n * times)))
    return needed if needed <= intervals.MOST_SAMPLES else None
