"""What a metric found in a model's answers, so that it can be told for any choice of the samples.

A metric of a data set is seldom a mean over samples (F1, IoU, AUC, mAP are not), yet how sure it is has to be told from
the samples alone. So a scored data set answers under *weights*: how often each sample counts. All ones give the metric;
rows drawn at random give the bootstrap (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgelift_builder.judge.measure import Numbers


class Scored(Protocol):
    """The answers of one model, scored."""

    @property
    def count(self) -> int:
        """Samples."""

    def under(self, weights: Numbers) -> Numbers:
        """The metric for each row of `weights: float64[rows, samples]`: float64[rows]."""


def value(scored: Scored) -> float:
    """The metric itself."""
    return float(scored.under(np.ones((1, scored.count)))[0])


def unseen(scored: Scored) -> float:
    """What a share may still be off where nothing was seen to be: the rule of three, 0 for what is no share.

    Of n things none of which was wrong, up to 1 - 0.05^(1/n) may be, at 95 % (J. A. Hanley and A. Lippman-Hand, "If nothing
    goes wrong, is everything all right?", JAMA 249, 1983). Drawing from samples that are all alike would say: nothing.
    """
    units = scored.units if isinstance(scored, Sums) else 0.0
    return float(1 - 0.05 ** (1 / units)) if units > 0 else 0.0


#: So many samples may still go wrong at 95 % where none was seen to: the rule of three, see `unseen`.
UNSEEN = -float(np.log(0.05))


@dataclass(frozen=True)
class PerSample:
    """The metric is the mean of `scores: float64[n]`."""

    scores: Numbers

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.scores)

    @property
    def is_right_or_wrong(self) -> bool:
        """Is every score 0 or 1."""
        return bool(np.isin(self.scores, (0, 1)).all())

    def under(self, weights: Numbers) -> Numbers:
        """See `Scored`."""
        made: Numbers = weights @ self.scores / weights.sum(axis=1)
        return made


@dataclass(frozen=True)
class Sums:
    """The metric is told from sums over samples.

    Attributes:
        parts: what each sample adds, float64[n, k].
        combine: sums, float64[rows, k], to metrics, float64[rows].
        units: how many things that are right or wrong the metric is a share of; 0 where it is none.
    """

    parts: Numbers
    combine: Callable[[Numbers], Numbers]
    units: float = 0.0

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.parts)

    def under(self, weights: Numbers) -> Numbers:
        """See `Scored`."""
        return self.combine(weights @ self.parts)


@dataclass(frozen=True)
class Resampled:
    """A metric that somebody else computes, of all samples alone; and its values for samples drawn with replacement.

    Attributes:
        whole: of all samples.
        drawn: of `judgement.drawn_samples`, in that order; NaN where it had none.
        count: samples.
        step: by how much one sample that goes wrong moves it, see `step`.
    """

    whole: float
    drawn: Numbers
    count: int
    step: float = 0.0

    def under(self, weights: Numbers) -> Numbers:
        """Of all samples, once for each row: others can't be told."""
        return np.full(len(weights), self.whole)


@dataclass(frozen=True)
class RankedBy:
    """ROC AUC of `scores: float64[n]` for `positive: bool[n]`: how often a positive one scores higher (ties half)."""

    scores: Numbers
    positive: Numbers

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.scores)

    def under(self, weights: Numbers) -> Numbers:
        """See `Scored`; a half where a row has one kind of samples only."""
        order = np.argsort(self.scores, kind="stable")
        ranked = self.scores[order]
        levels = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        yes, no = (
            np.add.reduceat((weights * kind)[:, order], levels, axis=1)
            for kind in (self.positive, 1 - self.positive)
        )
        below = np.cumsum(no, axis=1) - no / 2
        pairs = yes.sum(axis=1) * no.sum(axis=1)
        made: Numbers = np.where(pairs > 0, (yes * below).sum(axis=1) / np.maximum(pairs, 1), 0.5)
        return made


def step(whole: float, spoilt: Numbers, share: float) -> float:
    """By how much one wrong answer moves a metric that somebody else computes.

    Told by spoiling answers, each with the probability `share`: where each of some samples moves the metric by d, the mean
    fall is share Σd and its variance share (1 - share) Σd², so that their ratio is the d of those that count, weighted by
    itself. A hundredth for accuracy of 100 samples; for an F1 of 3 positive ones among them some fifth.

    Args:
        whole: the metric.
        spoilt: of the same samples, spoilt again and again.
        share: see above.
    """
    falls = whole - spoilt[np.isfinite(spoilt)]
    if not len(falls) or not falls.any():
        return 0.0
    told = float(falls.var() / (1 - share) / max(abs(float(falls.mean())), 1e-12))
    return min(told, float(np.abs(falls).max()))
