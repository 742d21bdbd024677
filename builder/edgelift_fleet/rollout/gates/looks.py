"""Looking several times at one wave without more false alarms: α is spent over the planned looks.

By look k of K, α·(k/K)^EXPONENT may be spent (Lan and DeMets 1983, power family). How much a look's own threshold must
give way to the earlier ones isn't taken from a table or a normal curve: the same draws are followed through all looks,
and those that an earlier look would have stopped are counted as spent. That is exact, and gains what α/K gives away
because looks at one wave resemble each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray

#: Even spending: as sure at the end as spending late is, and much sooner where a release is plainly slow (docs/gates.md).
EXPONENT = 1.0


@dataclass(frozen=True)
class Looked:
    """What one look came to.

    Attributes:
        p: odds of seeing something as bad as this by now, at this look or an earlier one, were nothing wrong.
        threshold: how much of α may be spent by now.
        breach: p ≤ threshold.
    """

    p: float
    threshold: float
    breach: bool


def spending(alpha: float, looks: int) -> tuple[float, ...]:
    """How much of α may be spent by each of `looks` looks, the last all of it."""
    return tuple(alpha * ((k + 1) / looks) ** EXPONENT for k in range(looks))


def follow(smallest: Iterable[NDArray[np.float64]], budget: Sequence[float]) -> list[Looked]:
    """Go from look to look; ends at the first breach.

    Args:
        smallest: for each look so far float[draws]: the smallest p of each draw; entry 0 is the wave itself. Those after
            a breach are not asked for.
        budget: how much may be spent by each of them.
    """
    alive = np.ones(0, dtype=bool)
    spent = 0
    found: list[Looked] = []
    for p, may in zip(smallest, budget, strict=True):
        count = len(p)
        alive = alive if found else np.ones(count, dtype=bool)
        worse = spent + int(np.count_nonzero(alive & (p <= p[0])))
        allowed = floor(may * count + 1e-9)
        found.append(Looked(worse / count, may, worse <= allowed))
        if found[-1].breach:
            break
        stopped = _first(p, alive, allowed - spent)
        spent += int(np.count_nonzero(stopped))
        alive &= ~stopped
    return found


def _first(p: NDArray[np.float64], alive: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """The draws with the smallest p, at most `most` of them, equal ones all or not at all; 1 is no finding."""
    values, counts = np.unique(p[alive & (p < 1.0)], return_counts=True)
    fitting = values[np.cumsum(counts) <= most]
    return alive & (p <= fitting[-1]) if len(fitting) else np.zeros_like(alive)
