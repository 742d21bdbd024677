"""The ways in which a wave could have been drawn: within each hardware class, as many members as it has.

All of them where they are few, else random ones, the true one always among them. With that one counted, a p-value read
from them is never too small by chance (Phipson and Smyth 2010, "Permutation p-values should never be zero").
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod, sqrt

import numpy as np
from numpy.typing import NDArray

#: More ways than this are not listed but drawn from: so many besides the true one.
RANDOM_DRAWS = 9_999

#: Entries of rows that are drawn at a time: few enough to stay in the processor's cache.
_ENTRIES = 2_000_000

#: From so many devices on a row is counted by itself.
_LONG = 1_000


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
        if not 0 < n < size:
            rows[:, group] = n == size
            continue
        at_a_time = max(1, _ENTRIES // size)
        together = group[-1] - group[0] + 1 == size
        into: slice | NDArray[np.intp] = slice(group[0], group[-1] + 1) if together else group
        for start in range(1, len(rows), at_a_time):
            part = rows[start : start + at_a_time]
            part[:, into] = subsets(len(part), n, size, rng)
    return rows


def subsets(count: int, n: int, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """bool[count, size]: in each row `n` of `size`, each such choice as likely as any other.

    Each is in or out by its own coin first, weighted so that mostly somewhat fewer than n are in; then who is lacking is
    taken in by lot, or who is too many put out. Neither knows who is who, so that the choice doesn't. That takes a byte
    a device and a few lots, where putting all in a random order took eight bytes and as many comparisons again.
    """
    if 2 * n > size:  # lots hit somebody new more often where few are in
        return ~subsets(count, size - n, size, rng)
    few = max(0.0, n - 2.0 * sqrt(n * (1 - n / size)))
    coins = np.frombuffer(rng.bytes(count * size), dtype=np.uint8)
    flat = coins < int(256 * few / size)
    rows = flat.reshape(count, size)
    lacking = n - _in(rows)
    for row in np.flatnonzero(lacking < 0):
        rows[row, rng.choice(np.flatnonzero(rows[row]), -lacking[row], replace=False)] = False
    lacking = np.maximum(lacking, 0)
    while lacking.any():
        at = np.repeat(np.arange(count), lacking) * size
        entries = np.sort(at + rng.integers(size, size=len(at)))
        entries = entries[~flat[entries] & (np.diff(entries, prepend=-1) > 0)]  # who is in already isn't again
        flat[entries] = True
        lacking -= np.bincount(entries // size, minlength=count)
    return rows


def _in(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int[rows]: how many are in. Of long rows one by one: then the quickest counting of bytes outweighs the calls."""
    if rows.shape[1] < _LONG:
        return np.asarray(rows.sum(axis=1, dtype=np.int64))
    return np.array([np.count_nonzero(row) for row in rows])
