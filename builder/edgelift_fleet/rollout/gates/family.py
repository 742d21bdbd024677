"""One false-alarm rate over many comparisons: metrics and classes are judged as one family.

Each comparison's difference becomes its p-value among the draws; what counts is the smallest of them, and its odds are
those of the smallest p of every other draw (Westfall and Young 1993, "min-p"). That is never weaker than dividing by
the number of comparisons (Bonferroni) and costs nothing for those that say the same (p50 and p95) or nothing at all
(no device is silent anywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray


def p_value(differences: NDArray[np.float64]) -> float:
    """The share of draws that differ at least as much as the wave as it was drawn, entry 0."""
    return float(np.count_nonzero(differences >= differences[0])) / len(differences)


def smallest_p(comparisons: Sequence[NDArray[np.float64]], alpha: float) -> NDArray[np.float64]:
    """For each draw the smallest p-value of its comparisons; 1 for those that lie above `alpha` anyway.

    Args:
        comparisons: float[draws] each: differences, larger is worse.
        alpha: p-values above it decide nothing, and aren't told apart.
    """
    smallest = np.ones(len(comparisons[0]))
    count = len(smallest)
    within = min(ceil(alpha * count) + 1, count)
    for differences in comparisons:
        if differences.max() == differences.min():
            continue  # nothing tells the draws apart: the p-value of each is 1
        least = np.partition(differences, count - within)[count - within]
        tail = np.flatnonzero(differences >= least)
        ordered = np.sort(differences[tail])
        p = (len(tail) - np.searchsorted(ordered, differences[tail], side="left")) / count
        p[np.isneginf(differences[tail])] = 1.0
        smallest[tail] = np.minimum(smallest[tail], p)
    return smallest
