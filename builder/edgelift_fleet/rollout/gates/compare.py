"""How much worse a wave's members rank than their controls: for the wave as it was drawn, and for every other draw.

Ranks rather than the values, because boards have odd ones among them: of a fleet in which each tenth board goes its own
way, means find half as many slow releases as ranks do; on a tame fleet ranks lose one in a hundred. The false-alarm
rate is the same with either: no distribution enters it. (Wilcoxon 1945; over classes van Elteren 1960.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelift_fleet.rollout.gates.draws import Draws

#: What should be equal differs by less, by rounding and the order of sums: ties must stay ties.
_DECIMALS = 10
_STEPS = 2.0**33  # as fine as that, and exact

#: Entries of draws at a time, so that those of thousands of devices stay in the processor's cache.
_ENTRIES = 500_000

#: Of more pairs than this the median is looked for, and not taken of a list of them; as exact as this then.
_PAIRS, _EXACT = 100_000, 1e-9


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
    classes = []
    for number in np.unique(stratum):
        place = np.flatnonzero(stratum == number)
        # Those of a class mostly stand together: then they needn't be copied.
        together = place[-1] - place[0] + 1 == len(place)
        inside = slice(place[0], place[-1] + 1) if together else place
        rows = _in_class(draws.members[:, inside], values[:, inside])
        if any(np.any(row.weight) for row in rows):
            classes.append(rows)
            found[int(number)] = np.stack([row.difference() for row in rows])
    if len(found) > 1:
        found[None] = np.stack([_mean(rows) for rows in zip(*classes, strict=True)])
    return found


@dataclass(frozen=True)
class _Row:
    """A series in a class, for each draw: so that no pass over them is made that isn't needed, whole numbers are kept.

    Attributes:
        excess: float[draws]: by how much the members' ranks, doubled, add up to more than their share, times `counted`.
        weight: n·m, float[draws], or a number where it is the same for each.
        counted: how many devices count.
    """

    excess: NDArray[np.float64]
    weight: NDArray[np.float64] | float
    counted: int

    def difference(self) -> NDArray[np.float64]:
        """Mean rank of members − mean rank of controls; -inf where nothing was compared."""
        scale = 2.0 * max(self.counted, 1)
        if isinstance(self.weight, float):  # equal ones are equal already
            return (
                self.excess * (1.0 / (scale * self.weight)) if self.weight else np.full(len(self.excess), -np.inf)
            )
        return _settled(self.excess / np.maximum(scale * self.weight, 1.0), self.weight > 0)


def _in_class(members: NDArray[np.bool_], values: NDArray[np.float64]) -> list[_Row]:
    """Each series of one class; series in which the same devices count share how many members do in each draw."""
    counted = np.isfinite(values)
    totals = counted.sum(axis=1)
    whole = np.rint(ranks(values) * (2 * np.maximum(totals, 1)[:, None]))
    partly = {row.tobytes(): row for row in counted[totals < counted.shape[1]]}
    found = _per_draw(members, np.array([*partly.values(), *whole]))
    numbers: dict[bytes, NDArray[np.float64]] = dict(zip(partly, found[: len(partly)].astype(float), strict=True))
    every = float(np.count_nonzero(members[0]))
    rows = []
    for row, total, ranked, summed in zip(counted, totals.tolist(), whole, found[len(partly) :], strict=True):
        n = numbers.get(row.tobytes(), every)
        excess = summed.astype(float)
        excess *= total
        excess -= n * float(ranked.sum())
        rows.append(_Row(excess, n * (total - n), total))
    return rows


def _mean(rows: tuple[_Row, ...]) -> NDArray[np.float64]:
    """Of the classes' differences in one series, weighted by n·m/(n+m)."""
    weights: NDArray[np.float64] | float = 0.0
    mean = np.zeros(len(rows[0].excess))
    for row in rows:
        total = max(row.counted, 1)
        weights = weights + row.weight / total
        mean += row.excess * (0.5 / total**2)
    mean /= np.maximum(weights, 1e-9)
    return _settled(mean, np.asarray(weights > 0))


def _settled(differences: NDArray[np.float64], compared: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Equal ones made equal; -inf where nothing was compared."""
    settled = differences * _STEPS
    np.rint(settled, out=settled)
    settled /= _STEPS
    if not compared.all():
        settled[np.broadcast_to(~compared, settled.shape)] = -np.inf
    return settled


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """float[series, devices] → each value's rank in its series over the number that counts; equal ones share theirs.

    NaN, which doesn't count, ranks 0.
    """
    series, devices = values.shape
    rounded = np.round(values, _DECIMALS)
    order = np.argsort(rounded, axis=1, kind="stable")  # NaN comes last
    ordered = np.take_along_axis(rounded, order, axis=1)
    counted = np.isfinite(ordered)
    # Runs of equal values, numbered through all series; each NaN is one of its own.
    begins = np.ones(values.shape, dtype=bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = np.cumsum(begins).reshape(values.shape) - 1
    lengths = np.bincount(run.ravel())
    last = (
        np.cumsum(lengths)[run] - np.arange(series)[:, None] * devices
    )  # place of the run's last in its series, from 1
    ranked = np.zeros_like(values)
    mean = (last - (lengths[run] - 1) / 2) / np.maximum(counted.sum(axis=1), 1)[:, None]
    np.put_along_axis(ranked, order, np.where(counted, mean, 0.0), axis=1)
    return ranked


def shift(member: NDArray[np.bool_], stratum: NDArray[np.int_], values: NDArray[np.float64]) -> float:
    """By how much members lie above controls of their class: the median over all pairs (Hodges and Lehmann 1963).

    Args:
        member: bool[devices].
        stratum: int[devices].
        values: float[devices]; NaN doesn't count.
    """
    sides = sides_of(member, stratum, values)
    if not sides:
        return 0.0
    pairs = pairs_of(sides)
    return (difference_at(sides, (pairs + 1) // 2) + difference_at(sides, pairs // 2 + 1)) / 2


#: Of each class that has both: its members' values and its controls', each in ascending order.
Sides = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


def sides_of(member: NDArray[np.bool_], stratum: NDArray[np.int_], values: NDArray[np.float64]) -> Sides:
    """What is held against what, class by class; arguments as of `shift`."""
    sides = []
    for number in np.unique(stratum):
        inside = (stratum == number) & np.isfinite(values)
        mine, others = np.sort(values[inside & member]), np.sort(values[inside & ~member])
        if len(mine) and len(others):
            sides.append((mine, others))
    return sides


def pairs_of(sides: Sides) -> int:
    """How many pairs of a member and a control of its class there are."""
    return sum(len(mine) * len(others) for mine, others in sides)


def difference_at(sides: Sides, place: int) -> float:
    """The difference that is at `place` (from 1) of those of all pairs in ascending order; listed where they are few."""
    if pairs_of(sides) <= _PAIRS:
        every = np.concatenate([(mine[:, None] - others[None, :]).ravel() for mine, others in sides])
        return float(np.partition(every, place - 1)[place - 1])
    low = min(float(mine[0] - others[-1]) for mine, others in sides)
    high = max(float(mine[-1] - others[0]) for mine, others in sides)
    while high - low > _EXACT:  # by halving
        middle = (low + high) / 2
        # mine − others ≤ middle where others ≥ mine − middle
        below = sum(
            len(mine) * len(others) - int(np.searchsorted(others, mine - middle, side="left").sum())
            for mine, others in sides
        )
        low, high = (low, middle) if below >= place else (middle, high)
    return (low + high) / 2


def _per_draw(members: NDArray[np.bool_], summed: NDArray[np.float64]) -> NDArray[np.floating[Any]]:
    """float[rows, draws]: each row's sum over the members of each draw; `summed` are whole numbers, float[rows, devices]."""
    # Those of some thousand devices add up exactly in half the bytes.
    kind = np.float32 if 2.0 * members.shape[1] ** 2 < 2**24 else np.float64
    summed = summed.astype(kind)
    rows = max(1, _ENTRIES // max(1, members.shape[1]))
    parts = [summed @ members[i : i + rows].astype(kind).T for i in range(0, len(members), rows)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
