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

    def of(self, boards: NDArray[np.intp]) -> "Binned":
        """Some of the boards, by their numbers."""
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


def changes(before: Binned, since: Binned, least: int, *, member: NDArray[np.bool_]) -> Floats:
    """float[boards, moments, quantiles]: by how much each board got slower, as `measure` has it; NaN where it doesn't count.

    Args:
        before: of boards, up to one moment.
        since: of the same boards, or of all of them several times over.
        least: requests that each needs in both.
        member: bool[boards of `since`]: is it in the wave?
    """
    times = len(since.counts) // len(before.counts)
    was, doubted_was = (np.tile(read, (times, 1, 1)) for read in _read(before))
    now, doubted = _read(since)
    found = now - was
    found[member] -= (doubted + doubted_was)[member]
    counts = np.minimum(since.total, np.tile(before.total, (times, 1))) >= max(least, 1)
    return np.where(counts[:, :, None], found, np.nan)


def _read(data: Binned) -> tuple[Floats, Floats]:
    """Quantiles, and how far each may be off: float[boards, moments, quantiles] each."""
    boards, moments, buckets = data.counts.shape
    cumulative = data.counts.cumsum(axis=2)
    total = cumulative[:, :, -1]
    rows = np.arange(boards * moments).reshape(boards, moments)
    # One rising line of all rows, each beginning above the end of the one before: then every place in it is found at once.
    apart = int(total.max(initial=0)) + 1
    line = (cumulative + (rows * apart)[:, :, None]).ravel()
    padded = np.zeros((boards, moments, buckets + 4), dtype=np.int64)
    padded[:, :, 2:-2] = data.counts
    places, doubts = [], []
    for q in QUANTILES:
        wanted = q * total
        found = np.searchsorted(line, np.ceil(wanted).astype(np.int64) + rows * apart) - rows * buckets
        index = np.minimum(found, buckets - 1)
        about = padded.ravel()[rows * (buckets + 4) + index + np.arange(5)[:, None, None]]
        held = about[2]
        within = (wanted - cumulative.ravel()[rows * buckets + index] + held) / np.maximum(held, 1)
        places.append(np.clip((data.first + index + within) * WIDTH, data.low, data.high))
        doubts.append(WIDTH * spread_doubt(about))
    return np.stack(places, axis=2), np.stack(doubts, axis=2)
