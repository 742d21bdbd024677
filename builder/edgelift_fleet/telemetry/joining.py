"""Many stored histograms as one, and quantiles read from it: numpy over all counts at once, exact as merging is.

Rule: a quantile is read from joined histograms, never averaged. Law: `join` is `Histogram.merge` in any order, and
`quantiles` is `Histogram.quantile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt

from edgelift_contract.histogram import DEFAULT_SCALE
from edgelift_fleet.messages import Quantiles
from edgelift_fleet.telemetry.packing import LARGEST, TYPES, Part, plain, width_for

EMPTY = Part(DEFAULT_SCALE, 0, 1, b"", 0, 0, 0, 0)
#: No bucket's count grows beyond this, whatever devices claim: a sum that overflows would be a negative count.
_FULL = 2**60


def join(parts: Sequence[Part]) -> Part:
    """All of `parts` as one; the coarsest of their scales is the one that is kept. `EMPTY` for none."""
    if len(parts) <= 1:
        return parts[0] if parts else EMPTY
    filled = [part for part in parts if part.counts]
    scale = min(part.scale for part in parts)
    offset, sums = _sum_counts(filled, scale) if filled else (0, np.zeros(0, np.int64))
    some = [part for part in parts if part.counts or part.zeros]
    width = width_for(int(sums.max(initial=0)))
    return Part(
        scale=scale,
        offset=offset,
        width=width,
        counts=sums.astype(TYPES[width]).tobytes(),
        zeros=min(sum(part.zeros for part in parts), _FULL),
        total=_add(part.total for part in parts),
        low=min((part.low for part in some), key=plain, default=0),
        high=max((part.high for part in some), key=plain, default=0),
    )


def _sum_counts(parts: Sequence[Part], scale: int) -> tuple[int, npt.NDArray[np.int64]]:
    """The sums of counts by bucket: (index of the first, int64[n])."""
    by_width: dict[int, list[Part]] = {}
    for part in parts:
        by_width.setdefault(part.width, []).append(part)
    indexes, values = [], []
    for width, group in by_width.items():
        counts = np.frombuffer(b"".join([part.counts for part in group]), TYPES[width]).astype(np.int64)
        lengths = np.array([len(part.counts) // width for part in group])
        offsets = np.array([part.offset for part in group])
        shifts = np.array([part.scale - scale for part in group])
        # Each count's own bucket: its part's first bucket and its place within the part; a coarser scale joins 2**shift.
        firsts = offsets - (np.cumsum(lengths) - lengths)
        index = np.repeat(firsts, lengths) + np.arange(len(counts))
        indexes.append(index >> np.repeat(shifts, lengths) if shifts.any() else index)
        values.append(counts)
    index, value = np.concatenate(indexes), np.concatenate(values)
    lowest = int(index.min())
    sums = np.zeros(int(index.max()) - lowest + 1, np.int64)
    if float(value.astype(np.float64).sum()) < _FULL:
        np.add.at(sums, index - lowest, value)
    else:
        near = np.zeros(len(sums))
        np.add.at(near, index - lowest, value.astype(np.float64))
        sums = np.minimum(near, _FULL).astype(np.int64)
    seen = np.flatnonzero(sums)
    if not len(seen):
        return 0, sums[:0]
    return lowest + int(seen[0]), sums[seen[0] : seen[-1] + 1]


def _add(values: Iterable[int | float]) -> int | float:
    found = list(values)
    if all(isinstance(value, int) for value in found):
        total = sum(found)
        if abs(total) < LARGEST:
            return total
    return float(sum(plain(value) for value in found))


def quantiles(part: Part) -> Quantiles:
    """Count, p50, p95, p99, lowest and highest of a histogram, in its unit, rounded to a tenth."""
    counts = part.values
    seen = part.zeros + np.cumsum(counts)
    n = int(seen[-1]) if len(seen) else part.zeros
    if not n:
        return Quantiles(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    low, high = plain(part.low), plain(part.high)
    found = []
    for q in (0.5, 0.95, 0.99):
        rank = min(max(ceil(q * n), 1), n)
        if rank <= part.zeros:
            found.append(round(max(0.0, low), 1))
            continue
        index = part.offset + int(np.searchsorted(seen, rank))
        middle = 2.0 ** ((index + 0.5) / 2.0**part.scale)
        found.append(round(float(min(max(middle, low), high)), 1))
    return Quantiles(n, found[0], found[1], found[2], round(low, 1), round(high, 1))
