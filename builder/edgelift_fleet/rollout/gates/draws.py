"""The ways in which a wave could have been drawn: within each hardware class, as many members as it has.

All of them where they are few, else random ones, the true one always among them. With that one counted, a p-value read
from them is never too small by chance (Phipson and Smyth 2010, "Permutation p-values should never be zero").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

#: More ways than this are not listed but drawn from: so many besides the true one.
RANDOM_DRAWS = 9_999

#: Rows of random numbers at a time: 5,000 devices then take 40 MB.
_ROWS = 1_000


@dataclass(frozen=True)
class Draws:
    """Ways to draw a wave.

    Attributes:
        members: bool[draws, devices]: is the device a member? Row 0 is the wave as it was drawn.
        exact: are these all the ways there are?
    """

    members: NDArray[np.bool_]
    exact: bool

    def __len__(self) -> int:
        return len(self.members)


#: As many as anybody asks for; the true number of large waves has ten thousand digits.
COUNTLESS = 10**18


def ways(counts: list[tuple[int, int]]) -> int:
    """In how many ways a wave can be drawn, up to `COUNTLESS`; `counts` are (members, controls) of each class."""
    if any(min(pair) >= 64 for pair in counts):  # C(128, 64) is 2.4e37
        return COUNTLESS
    return prod(comb(members + controls, members) for members, controls in counts)


def draw(member: NDArray[np.bool_], stratum: NDArray[np.int_], *, seed: int) -> Draws:
    """The ways in which members could have been drawn within their strata.

    Args:
        member: bool[devices]: who is in the wave.
        stratum: int[devices]: each device's hardware class as a number.
        seed: of the random draws; the same seed, the same draws.
    """
    groups = [np.flatnonzero(stratum == number) for number in np.unique(stratum)]
    sizes = [(int(member[group].sum()), len(group)) for group in groups]
    total = ways([(n, size - n) for n, size in sizes])
    if total <= RANDOM_DRAWS + 1:
        return Draws(_all(member, groups, sizes, total), exact=True)
    return Draws(_random(member, groups, sizes, np.random.default_rng(seed)), exact=False)


def _all(
    member: NDArray[np.bool_], groups: list[NDArray[np.intp]], sizes: list[tuple[int, int]], total: int
) -> NDArray[np.bool_]:
    rows = np.zeros((total, len(member)), dtype=bool)
    choices = [combinations(group.tolist(), n) for group, (n, _) in zip(groups, sizes, strict=True)]
    for row, chosen in zip(rows, product(*choices), strict=True):
        for part in chosen:
            row[list(part)] = True
    first = int(np.flatnonzero((rows == member).all(axis=1))[0])
    rows[[0, first]] = rows[[first, 0]]
    return rows


def _random(
    member: NDArray[np.bool_],
    groups: list[NDArray[np.intp]],
    sizes: list[tuple[int, int]],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    rows = np.zeros((RANDOM_DRAWS + 1, len(member)), dtype=bool)
    rows[0] = member
    for group, (n, size) in zip(groups, sizes, strict=True):
        for start in range(1, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            if 0 < n < size:
                chosen = np.argpartition(rng.random((len(part), size)), n, axis=1)[:, :n]
                part[np.arange(len(part))[:, None], group[chosen]] = True
            else:
                part[:, group] = n == size
    return rows
