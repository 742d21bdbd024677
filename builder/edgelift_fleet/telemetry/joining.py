"""Many stored histograms as few, and quantiles read from them: numpy over all counts at once, exact as merging is.

Rule: a quantile is read from joined histograms, never averaged. Law: `join` is `Histogram.merge` in any order, and
`quantiles` is `Histogram.quantile`. What is said of one group is said of thousands by the same few calls of numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgelift_contract.histogram import DEFAULT_SCALE, MAX_SCALE
from edgelift_fleet.messages import Quantiles
from edgelift_fleet.telemetry.packing import LARGEST, TYPES, Part, plain, width_for

EMPTY = Part(DEFAULT_SCALE, 0, 1, b"", 0, 0, 0, 0)
NONE = Quantiles(0, 0.0, 0.0, 0.0, 0.0, 0.0)
#: No bucket's count grows beyond this, whatever devices claim: a sum that overflows would be a negative count.
_FULL = 2**60
#: Floats count to the unit up to here, and numpy adds up floats the quickest.
_EXACT = 2**53
#: Histograms at a time: what is expanded of them stays within some megabytes.
_AT_ONCE = 8192

_Ints = npt.NDArray[np.int64]


def join(parts: Sequence[Part]) -> Part:
    """All of `parts` as one; the coarsest of their scales is the one that is kept. `EMPTY` for none."""
    if len(parts) <= 1:
        return parts[0] if parts else EMPTY
    return join_by(np.zeros(len(parts), np.int64), parts, 1)[0]


def join_by(groups: Sequence[int] | _Ints, parts: Sequence[Part], number: int) -> list[Part]:
    """`join` of the parts of each group.

    Args:
        groups: of each part, from 0.
        parts: in any order.
        number: how many groups there are; one that has no part is `EMPTY`.
    """
    of_group: list[list[Part]] = [[] for _ in range(number)]
    for group, part in zip(groups, parts, strict=True):
        of_group[int(group)].append(part)
    summed = _sum_counts(np.asarray(groups, np.int64), parts, number)
    return [
        _joined(mine, summed, group) if len(mine) > 1 else mine[0] if mine else EMPTY
        for group, mine in enumerate(of_group)
    ]


def _joined(parts: Sequence[Part], summed: _Summed, group: int) -> Part:
    sums = summed.sums[summed.first[group] : summed.first[group + 1]]
    seen = np.flatnonzero(sums)
    offset, sums = (
        (int(summed.lowest[group] + seen[0]), sums[seen[0] : seen[-1] + 1]) if len(seen) else (0, sums[:0])
    )
    some = [part for part in parts if part.counts or part.zeros]
    width = width_for(int(sums.max(initial=0)))
    return Part(
        scale=int(summed.scale[group]),
        offset=offset,
        width=width,
        counts=sums.astype(TYPES[width]).tobytes(),
        zeros=min(sum(part.zeros for part in parts), _FULL),
        total=_add(part.total for part in parts),
        low=min((part.low for part in some), key=plain, default=0),
        high=max((part.high for part in some), key=plain, default=0),
    )


class _Summed(NamedTuple):
    """Counts by bucket of each of some groups, one group after the other.

    Attributes:
        scale: int[groups], the coarsest of each.
        lowest: int[groups], the index of its first bucket.
        first: int[groups + 1], where its buckets begin in `sums`, and where the last ones end.
        sums: int[buckets].
    """

    scale: _Ints
    lowest: _Ints
    first: _Ints
    sums: _Ints


def _sum_counts(groups: _Ints, parts: Sequence[Part], number: int) -> _Summed:
    scales, widths = _ints(part.scale for part in parts), _ints(part.width for part in parts)
    lengths, offsets = _ints(len(part.counts) for part in parts) // widths, _ints(part.offset for part in parts)
    filled = np.flatnonzero(lengths)
    scale = np.full(number, MAX_SCALE)
    np.minimum.at(scale, groups, scales)
    shifts = scales - scale[groups]
    lowest, highest = np.full(number, _FULL), np.full(number, -_FULL)
    np.minimum.at(lowest, groups[filled], (offsets >> shifts)[filled])
    np.maximum.at(highest, groups[filled], ((offsets + lengths - 1) >> shifts)[filled])
    first = np.concatenate(([0], np.cumsum(np.maximum(highest - lowest + 1, 0))))
    sums, kept = np.zeros(int(first[-1])), np.zeros(int(first[-1]), np.int64)
    for width, kind in TYPES.items():
        same = filled[widths[filled] == width]
        for begin in range(0, len(same), _AT_ONCE):
            some = same[begin : begin + _AT_ONCE]
            times, at = lengths[some], np.cumsum(lengths[some])
            values = np.frombuffer(b"".join([parts[row].counts for row in some.tolist()]), kind)
            # Each count's own bucket: its part's first bucket and its place within the part; a coarser scale joins 2**shift.
            index = np.repeat(offsets[some] - (at - times), times) + np.arange(len(values))
            if shifts[some].any():
                index >>= np.repeat(shifts[some], times)
            index += np.repeat((first[:-1] - lowest)[groups[some]], times)
            sums += np.bincount(index, values, len(sums))
            if sums.max(initial=0.0) > _EXACT / 2:  # beyond what floats count to the unit
                kept, sums = (
                    np.minimum(kept + np.minimum(sums, _FULL).astype(np.int64), _FULL),
                    np.zeros(len(sums)),
                )
    return _Summed(scale, lowest, first, np.minimum(kept + sums.astype(np.int64), _FULL))


def _ints(values: Iterable[int]) -> _Ints:
    return np.array(list(values), np.int64)


def _add(values: Iterable[int | float]) -> int | float:
    found = list(values)
    if all(isinstance(value, int) for value in found):
        total = sum(found)
        if abs(total) < LARGEST:
            return total
    return float(sum(plain(value) for value in found))


def quantiles(part: Part) -> Quantiles:
    """Count, p50, p95, p99, lowest and highest of a histogram, in its unit, rounded to a tenth."""
    return quantiles_by([0], [part], 1)[0]


def quantiles_by(groups: Sequence[int] | _Ints, parts: Sequence[Part], number: int) -> list[Quantiles]:
    """`quantiles` of the joined parts of each group; arguments as of `join_by`. A group without a value has a count of 0."""
    if not parts:
        return [NONE] * number
    where = np.asarray(groups, np.int64)
    summed = _sum_counts(where, parts, number)
    zeros, low, high = [0] * number, [inf] * number, [-inf] * number
    for group, part in zip(where.tolist(), parts, strict=True):
        if part.counts or part.zeros:
            zeros[group] = min(zeros[group] + part.zeros, _FULL)
            low[group], high[group] = min(low[group], plain(part.low)), max(high[group], plain(part.high))
    first, scale, lowest = summed.first.tolist(), summed.scale.tolist(), summed.lowest.tolist()
    # Of each group by itself: over thousands of groups, whatever they claim, no sum may pass what an integer holds.
    return [
        _quantiles(summed.sums[first[g] : first[g + 1]], zeros[g], low[g], high[g], scale[g], lowest[g])
        for g in range(number)
    ]


def _quantiles(sums: _Ints, zeros: int, low: float, high: float, scale: int, lowest: int) -> Quantiles:
    seen = zeros + sums.cumsum()
    n = int(seen[-1]) if len(seen) else zeros
    if not n:
        return NONE
    ranks = [min(max(ceil(q * n), 1), n) for q in (0.5, 0.95, 0.99)]
    found = []
    for rank, place in zip(ranks, seen.searchsorted(ranks).tolist(), strict=True):
        value = 0.0 if rank <= zeros else min(2.0 ** ((lowest + place + 0.5) / 2.0**scale), high)
        found.append(round(max(value, low), 1))
    return Quantiles(n, found[0], found[1], found[2], round(low, 1), round(high, 1))
