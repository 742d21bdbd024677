"""How much worse a wave's members rank than their controls: for the wave as it was drawn, and for every other draw.

Ranks rather than the values, because boards have odd ones among them: of a fleet in which each tenth board goes its own
way, means find half as many slow releases as ranks do; on a tame fleet ranks lose one in a hundred. The false-alarm
rate is the same with either: no distribution enters it. (Wilcoxon 1945; over classes van Elteren 1960.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelift_fleet.rollout.gates.draws import Draws

#: What should be equal differs by less, by rounding and the order of sums: ties must stay ties.
_DECIMALS = 10

#: Draws at a time, so that thousands of devices fit in memory.
_ROWS = 1_000


def differences(
    draws: Draws, stratum: NDArray[np.int_], values: NDArray[np.float64]
) -> dict[int | None, NDArray[np.float64]]:
    """Mean rank of members − mean rank of controls, as a share of the class, for each draw.

    Args:
        draws: of the devices.
        stratum: int[devices].
        values: float[series, devices], larger is worse; NaN where a device doesn't count in a series.

    Returns:
        Class number → float[series, draws], -1 to 1, and under None all classes together: the classes' differences
        weighted by n·m/(n+m), n members and m controls. -inf where one side has no device that counts. Classes in
        which no device can be compared are left out, and None where there is but one.
    """
    found: dict[int | None, NDArray[np.float64]] = {}
    parts = []
    for number in np.unique(stratum):
        inside = stratum == number
        counted = np.isfinite(values[:, inside])
        ranked = ranks(values[:, inside])
        n, sums = _per_draw(draws.members[:, inside], counted, ranked)
        m = counted.sum(axis=1)[:, None] - n
        both = (n > 0) & (m > 0)
        if not both.any():
            continue
        difference = sums * (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))
        difference -= ranked.sum(axis=1)[:, None] / np.maximum(m, 1)
        parts.append((np.where(both, n * m / np.maximum(n + m, 1), 0.0), difference))
        found[int(number)] = np.where(both, np.round(difference, _DECIMALS), -np.inf)
    if len(found) > 1:
        weights = sum((weight for weight, _ in parts), np.zeros(1))
        together = sum((weight * difference for weight, difference in parts), np.zeros(1)) / np.maximum(
            weights, 1e-9
        )
        found[None] = np.where(weights > 0, np.round(together, _DECIMALS), -np.inf)
    return found


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """float[series, devices] → each value's rank in its series over the number that counts; equal ones share theirs.

    NaN, which doesn't count, ranks 0.
    """
    ranked = np.zeros_like(values)
    for row, into in zip(values, ranked, strict=True):
        counted = np.isfinite(row)
        if counted.any():
            _, place, times = np.unique(np.round(row[counted], _DECIMALS), return_inverse=True, return_counts=True)
            into[counted] = (np.cumsum(times) - (times - 1) / 2)[place] / counted.sum()
    return ranked


def shift(member: NDArray[np.bool_], stratum: NDArray[np.int_], values: NDArray[np.float64]) -> float:
    """By how much members lie above controls of their class: the median over all pairs (Hodges and Lehmann 1963).

    Args:
        member: bool[devices].
        stratum: int[devices].
        values: float[devices]; NaN doesn't count.
    """
    pairs = []
    for number in np.unique(stratum):
        inside = (stratum == number) & np.isfinite(values)
        pairs.append((values[inside & member][:, None] - values[inside & ~member]).ravel())
    every = np.concatenate(pairs)
    return float(np.median(every)) if len(every) else 0.0


def _per_draw(
    members: NDArray[np.bool_], counted: NDArray[np.bool_], ranked: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many members count, and the sum of their ranks: float[series, draws] each, the first [series, 1] where all do."""
    complete = bool(counted.all())
    columns = ranked.T if complete else np.concatenate([counted.astype(np.float64), ranked]).T
    parts = [members[i : i + _ROWS].astype(np.float64) @ columns for i in range(0, len(members), _ROWS)]
    found = np.concatenate(parts).T
    if complete:
        return np.full((len(ranked), 1), float(members[0].sum())), found
    return np.round(found[: len(counted)]), found[len(counted) :]
