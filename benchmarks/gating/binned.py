"""Requests of many boards at once, binned as a board's histograms bin them, and what a gate reads out of that.

The very numbers of `edgelift_fleet.rollout.gates.measure`, for arrays: tests/fleet/test_bench_gates.py holds them against
it, board by board.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from edgelift_contract.histogram import DEFAULT_SCALE, HistogramData
from edgelift_fleet.rollout.gates.measure import Stretch, spread_doubt

Floats = NDArray[np.float64]

#: Natural logarithm of a bucket's width.
WIDTH = log(2.0) / 2.0**DEFAULT_SCALE

QUANTILES = (0.50, 0.95)


@dataclass(frozen=True)
class Binned:
    """What boards served up to some moments.

    Attributes:
        counts: int[boards, moments, buckets].
        first: index of the first bucket.
        low, high: float[boards, moments]: least and largest logarithm; infinite where nothing was served.
    """

    counts: NDArray[np.int64]
    first: int
    low: Floats
    high: Floats

    @property
    def total(self) -> NDArray[np.int64]:
        """int[boards, moments]: requests."""
        return np.asarray(self.counts.sum(axis=2))

    def again(self, times: int) -> "Binned":
        """The same boards so many times over."""
        shape = times, 1, 1
        return Binned(
            np.tile(self.counts, shape), self.first, np.tile(self.low, shape[:2]), np.tile(self.high, shape[:2])
        )

    def of(self, boards: slice) -> "Binned":
        """Some of the boards."""
        return Binned(self.counts[boards], self.first, self.low[boards], self.high[boards])

    def stretch(self, board: int, moment: int) -> Stretch:
        """The same as a board sends it."""
        counts = self.counts[board, moment]
        held = np.flatnonzero(counts)
        data = HistogramData(
            offset=self.first + int(held[0]),
            counts=counts[held[0] : held[-1] + 1].tolist(),
            low=float(np.exp(self.low[board, moment])),
            high=float(np.exp(self.high[board, moment])),
        )
        return Stretch(int(counts.sum()), 0, data)


def bin_up(places: NDArray[np.intp], logs: Floats, boards: int, moments: int) -> Binned:
    """Bin requests, and add up from moment to moment.

    Args:
        places: intp[requests]: board · moments + the first moment that has the request.
        logs: float[requests]: natural logarithm of latency, microseconds.
        boards, moments: how many.
    """
    shape = boards, moments
    low, high = np.full(boards * moments, np.inf), np.full(boards * moments, -np.inf)
    if not len(logs):
        return Binned(np.zeros((*shape, 1), dtype=np.int64), 0, low.reshape(shape), high.reshape(shape))
    index = np.ceil(logs / WIDTH).astype(np.int64) - 1
    first = int(index.min())
    width = int(index.max()) - first + 1
    counts = np.bincount(places * width + (index - first), minlength=boards * moments * width)
    starts = np.flatnonzero(np.diff(places, prepend=-1))  # requests come board by board and in order
    low[places[starts]] = np.minimum.reduceat(logs, starts)
    high[places[starts]] = np.maximum.reduceat(logs, starts)
    return Binned(
        counts.reshape(*shape, width).cumsum(axis=1), first,
        np.minimum.accumulate(low.reshape(shape), axis=1), np.maximum.accumulate(high.reshape(shape), axis=1),
    )  # fmt: skip


def changes(before: Binned, since: Binned, least: int, *, member: bool) -> Floats:
    """float[boards, moments, quantiles]: by how much each board got slower, as `measure` has it; NaN where it doesn't count.

    `before` has one moment.
    """
    was, doubted_was = _read(before)
    now, doubted = _read(since)
    found = now - was
    if member:
        found -= doubted + doubted_was
    counts = np.minimum(since.total, before.total) >= max(least, 1)
    return np.where(counts[:, :, None], found, np.nan)


def _read(data: Binned) -> tuple[Floats, Floats]:
    """Quantiles, and how far each may be off: float[boards, moments, quantiles] each."""
    cumulative = data.counts.cumsum(axis=2)
    total = cumulative[:, :, -1]
    padded = np.pad(data.counts, ((0, 0), (0, 0), (2, 2)))
    places, doubts = [], []
    for q in QUANTILES:
        wanted = q * total
        index = np.minimum((cumulative < wanted[:, :, None]).sum(axis=2), data.counts.shape[2] - 1)
        at = index[:, :, None]
        held = np.take_along_axis(data.counts, at, axis=2)[:, :, 0]
        within = (wanted - np.take_along_axis(cumulative, at, axis=2)[:, :, 0] + held) / np.maximum(held, 1)
        places.append(np.clip((data.first + index + within) * WIDTH, data.low, data.high))
        about = np.stack([np.take_along_axis(padded, at + n, axis=2)[:, :, 0] for n in range(5)])
        doubts.append(WIDTH * spread_doubt(about))
    return np.stack(places, axis=2), np.stack(doubts, axis=2)
