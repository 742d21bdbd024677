"""In which interval a wave's shift lies: what a page shows beside it. No decision rests on it.

It holds every shift that the rank-sum test, summed over the classes, would not reject: with N pairs of a member and a
control of its class, from the c-th lowest difference of a pair to the c-th highest (Hodges and Lehmann 1963; Bauer 1972).
`c` follows from the odds of each rank sum among all draws. It supposes that a release moves all boards alike, and it is
of one look: over several looks it misses more often than it says.
"""

from __future__ import annotations

from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from edgelift_fleet.rollout.gates.compare import Sides, difference_at, pairs_of, sides_of

#: How surely the shift lies within.
CONFIDENCE = 0.95
#: The normal quantile of half of what is left out.
_Z = 1.959964
#: Up to so many pairs the odds are counted, beyond them the normal distribution is as good.
_COUNTED = 2_000


def interval(
    member: NDArray[np.bool_], stratum: NDArray[np.int_], values: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The lowest and the highest shift that the values agree with; None where they are too few to exclude any.

    Args:
        member: bool[devices].
        stratum: int[devices].
        values: float[devices]; NaN doesn't count.
    """
    sides = sides_of(member, stratum, values)
    place = _place([(len(mine), len(others)) for mine, others in sides]) if sides else 0
    return (difference_at(sides, place), _from_above(sides, place)) if place else None


def _from_above(sides: Sides, place: int) -> float:
    return difference_at(sides, pairs_of(sides) + 1 - place)


def _place(sizes: list[tuple[int, int]]) -> int:
    """`c`: how many of the lowest rank sums together have odds of (1 − confidence) / 2 at most; 0 for none."""
    pairs = sum(n * m for n, m in sizes)
    if pairs > _COUNTED:
        deviation = sqrt(sum(n * m * (n + m + 1) for n, m in sizes) / 12)
        return max(0, floor(pairs / 2 - _Z * deviation))
    odds = np.ones(1)
    for n, m in sizes:
        odds = np.convolve(odds, rank_sums(n, m))
    below = np.cumsum(odds)
    return int(np.searchsorted(below, (1 - CONFIDENCE) / 2 + 1e-12, side="right"))


def rank_sums(n: int, m: int) -> NDArray[np.float64]:
    """float[n·m + 1]: the odds that u of the n·m pairs have the member above, were all draws as likely.

    The coefficients of the Gaussian binomial (n+m over n), by multiplying by (1 − x^(m+i)) and dividing by (1 − x^i).
    """
    counts = np.zeros(n * m + 1)
    counts[0] = 1.0
    for i in range(1, n + 1):
        over = m + i
        if over <= n * m:
            counts[over:] = counts[over:] - counts[:-over].copy()
        for at in range(i, n * m + 1):
            counts[at] += counts[at - i]
        counts /= counts.max()
    return np.asarray(counts / counts.sum())
