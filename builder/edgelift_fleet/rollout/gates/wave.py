"""The test of one wave at its planned looks: a pure function of what was measured at each of them.

The same arguments give the same verdict, so a controller that starts anew asks again with what it kept.

What is promised: were no board slower (or worse otherwise) by more than is allowed, this wave would be called bad with
a probability of `alpha` at most, whatever the boards' noise. It is exact because the members were drawn at random
within their class; it supposes that the swap itself doesn't disturb a board for longer than the looks leave out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from edgelift_fleet.rollout.gates import words
from edgelift_fleet.rollout.gates.compare import differences, shift
from edgelift_fleet.rollout.gates.draws import draw, ways
from edgelift_fleet.rollout.gates.family import p_value, smallest_p
from edgelift_fleet.rollout.gates.looks import follow, spending
from edgelift_fleet.rollout.gates.measure import SERIES
from edgelift_fleet.rollout.gates.shares import suffices
from edgelift_fleet.rollout.gates.words import Contrast

#: A look: device → series → its number; a device or a series that isn't there, or is NaN, doesn't count.
Look = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Rules:
    """What is tested, and how surely.

    Attributes:
        watched: keys of `measure.SERIES`.
        slower: share by which a device may become slower; 0.05 is 5 %.
        more_errors: by how much its share of failed requests may rise.
        looks: how often a wave is looked at.
        alpha: false-alarm rate of this wave over all looks, series and classes.
    """

    watched: tuple[str, ...] = ("latency", "errors", "silence")
    slower: float = 0.05
    more_errors: float = 0.005
    looks: int = 6
    alpha: float = 0.01

    @property
    def series(self) -> list[str]:
        """All that is compared, in a fixed order."""
        return [series for watched in self.watched for series in SERIES[watched]]

    def shows_what_was_served(self, contrasts: Sequence[Contrast]) -> bool:
        """Is anything compared for which devices must serve, if that is asked for?"""
        return set(self.watched) <= {"silence"} or any(c.series != "silence" for c in contrasts)

    def allowed(self, series: str) -> float:
        """How much worse a series may become, in its unit."""
        return {"error share": self.more_errors, "silence": 0.0}.get(series, log(1.0 + self.slower))


@dataclass(frozen=True)
class Drawn:
    """A wave and its controls, as they were when it began.

    Attributes:
        members, controls: device → its hardware class.
        seed: of the random draws.
    """

    members: Mapping[str, str]
    controls: Mapping[str, str]
    seed: int

    def without(self, devices: Collection[str]) -> Drawn:
        """The same draw, but for some devices."""
        mine = {device: name for device, name in self.members.items() if device not in devices}
        others = {device: name for device, name in self.controls.items() if device not in devices}
        return Drawn(mine, others, self.seed)

    @property
    def counts(self) -> list[tuple[int, int]]:
        """(members, controls) of each class."""
        mine, others = list(self.members.values()), list(self.controls.values())
        return [(mine.count(name), others.count(name)) for name in sorted({*mine, *others})]


@dataclass(frozen=True)
class WaveVerdict:
    """What the looks so far came to.

    Attributes:
        breach: is the wave worse than allowed?
        rate: the stated false-alarm rate of this wave; None: none, too few devices.
        contrasts: of the newest look, worst first.
        text: for people: figures, threshold, and what isn't promised.
        look: at which look it was decided, from 1; 0 where nothing can be tested.
        p, threshold: the odds of something as bad by now, and how much of α may be spent by now; 1 and 0 for none.
    """

    breach: bool
    rate: float | None
    contrasts: tuple[Contrast, ...]
    text: str
    look: int = 0
    p: float = 1.0
    threshold: float = 0.0


class _Fleet:
    """The devices of a wave and their controls as arrays."""

    def __init__(self, drawn: Drawn) -> None:
        self.devices = [*sorted(drawn.members), *sorted(drawn.controls)]
        classes = {**drawn.controls, **drawn.members}
        self.names = sorted(set(classes.values()))
        self.member: NDArray[np.bool_] = np.array([d in drawn.members for d in self.devices], dtype=bool)
        self.stratum: NDArray[np.int_] = np.array([self.names.index(classes[d]) for d in self.devices], dtype=int)

    def values(self, look: Look, series: Sequence[str]) -> NDArray[np.float64]:
        """float[series, devices]."""
        nothing: Mapping[str, float] = {}
        return np.array([[look.get(d, nothing).get(s, np.nan) for d in self.devices] for s in series], dtype=float)


def judge_wave(drawn: Drawn, looks: Mapping[int, Look], rules: Rules) -> WaveVerdict:
    """Judge a wave by its looks so far: number, from 1 to `rules.looks`, → what was measured. Some may have been missed."""
    possible = ways(drawn.counts)
    if not suffices(possible, rules.alpha):
        text = words.no_rate(len(drawn.members), len(drawn.controls), possible, rules.alpha)
        return WaveVerdict(breach=False, rate=None, contrasts=(), text=text)
    if not looks:
        return WaveVerdict(breach=False, rate=rules.alpha, contrasts=(), text="not looked at yet")
    fleet = _Fleet(drawn)
    values = {number: fleet.values(looks[number], rules.series) for number in sorted(looks)}
    return _verdict(drawn, fleet, values, rules)


def _verdict(drawn: Drawn, fleet: _Fleet, values: Mapping[int, NDArray[np.float64]], rules: Rules) -> WaveVerdict:
    allowed = np.array([rules.allowed(series) for series in rules.series])[:, None]
    raised = np.concatenate([np.where(fleet.member, value - allowed, value) for value in values.values()])
    compared = differences(draw(fleet.member, fleet.stratum, seed=drawn.seed), fleet.stratum, raised)
    numbers, width = list(values), len(allowed)
    rows = [range(look * width, (look + 1) * width) for look in range(len(numbers))]
    budget = spending(rules.alpha, rules.looks)
    smallest = [
        smallest_p([d[row] for d in compared.values() for row in mine], rules.alpha) for mine in rows if compared
    ]
    looked = follow(smallest, [budget[number - 1] for number in numbers]) if compared else []
    newest = max(0, len(looked) - 1)
    found = [
        _contrast(fleet, rules, where, s, values[numbers[newest]][s], p_value(d[rows[newest][s]]))
        for where, d in compared.items()
        for s in range(width)
    ]
    contrasts = tuple(
        sorted((c for c in found if c.members and c.controls), key=lambda c: (c.p, c.hardware_class))
    )
    last = looked[-1] if looked else None
    unserved = not rules.shows_what_was_served(contrasts)
    text = words.sum_up(numbers[newest], rules.looks, contrasts, last, unserved=unserved)
    p, threshold = (last.p, last.threshold) if last else (1.0, 0.0)
    breach = last is not None and last.breach
    return WaveVerdict(breach, rules.alpha, contrasts, text, numbers[newest], p, threshold)


def _contrast(
    fleet: _Fleet, rules: Rules, number: int | None, s: int, values: NDArray[np.float64], p: float
) -> Contrast:
    inside = np.isfinite(values) & (True if number is None else fleet.stratum == number)
    kept = np.where(inside, values, np.nan)
    series = rules.series[s]
    moved = shift(fleet.member, fleet.stratum, kept)
    if series == "silence":  # the median of zeros and ones hides what the shares show
        moved = _mean(kept[fleet.member]) - _mean(kept[~fleet.member])
    return Contrast(
        series=series,
        hardware_class="" if number is None else fleet.names[number],
        shift=moved,
        allowed=rules.allowed(series),
        members=int((inside & fleet.member).sum()),
        controls=int((inside & ~fleet.member).sum()),
        p=p,
    )


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if len(counted) else 0.0
