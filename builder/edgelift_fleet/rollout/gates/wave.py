"""The test of one wave at its planned looks: a pure function of what was measured at each of them.

The same arguments give the same verdict, so a controller that starts anew asks again with what it kept.

What is promised: were no board slower (or worse otherwise) by more than is allowed, this wave would be called bad with
a probability of `alpha` at most, whatever the boards' noise. It is exact because the members were drawn at random
within their class; it supposes that the swap itself doesn't disturb a board for longer than the looks leave out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from edgelift_fleet.rollout.gates import words
from edgelift_fleet.rollout.gates.compare import differences, shift
from edgelift_fleet.rollout.gates.draws import Draws, draw, ways
from edgelift_fleet.rollout.gates.family import p_value, smallest_p
from edgelift_fleet.rollout.gates.interval import interval
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
        return set(self.watched) <= {"silence"} or any(c.series not in SERIES["silence"] for c in contrasts)

    def allowed(self, series: str) -> float:
        """How much worse a series may become, in its unit."""
        if series in SERIES["silence"]:
            return 0.0
        return self.more_errors if series == "error share" else log(1.0 + self.slower)


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
        mine, others = Counter(self.members.values()), Counter(self.controls.values())
        return [(mine[name], others[name]) for name in sorted({*mine, *others})]


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


class WaveArrays:
    """The devices of a wave and their controls as arrays.

    Attributes:
        devices: ids, class by class, members first.
        names: hardware classes.
        member: bool[devices].
        stratum: int[devices], each device's class as its place in `names`.
    """

    def __init__(self, drawn: Drawn) -> None:
        classes = {**drawn.controls, **drawn.members}
        self.devices = sorted(classes, key=lambda device: (classes[device], device not in drawn.members, device))
        self.names = sorted(set(classes.values()))
        place = {name: number for number, name in enumerate(self.names)}
        self.member: NDArray[np.bool_] = np.array([d in drawn.members for d in self.devices], dtype=bool)
        self.stratum: NDArray[np.int_] = np.array([place[classes[d]] for d in self.devices], dtype=int)

    def values(self, look: Look, series: Sequence[str]) -> NDArray[np.float64]:
        """float[series, devices]."""
        nothing: Mapping[str, float] = {}
        rows = [look.get(device, nothing) for device in self.devices]
        return np.array([[row.get(s, np.nan) for row in rows] for s in series], dtype=float)

    def compared(
        self, values: NDArray[np.float64], rules: Rules, draws: Draws
    ) -> dict[int | None, NDArray[np.float64]]:
        """How the members of each draw differ from its controls, beyond what is allowed; as `compare.differences`."""
        allowed = np.array([rules.allowed(series) for series in rules.series])[:, None]
        return differences(draws, self.stratum, np.where(self.member, values - allowed, values))


def judge_wave(
    drawn: Drawn, looks: Mapping[int, Look], rules: Rules, *, make: Callable[..., Draws] = draw
) -> WaveVerdict:
    """Judge a wave by its looks so far.

    Args:
        drawn: who is in it, and its controls.
        looks: number, from 1 to `rules.looks`, → what was measured; some may have been missed.
        rules: what is tested.
        make: gives the draws, as `draws.draw`; whoever judges the same wave again may keep them.
    """
    possible = ways(drawn.counts)
    if not suffices(possible, rules.alpha):
        text = words.no_rate(len(drawn.members), len(drawn.controls), possible, rules.alpha)
        return WaveVerdict(breach=False, rate=None, contrasts=(), text=text)
    if not looks:
        return WaveVerdict(breach=False, rate=rules.alpha, contrasts=(), text="not looked at yet")
    fleet = WaveArrays(drawn)
    values = {number: fleet.values(looks[number], rules.series) for number in sorted(looks)}
    draws = make(fleet.member, fleet.stratum, seed=drawn.seed)
    return _verdict(draws, fleet, values, rules)


def _verdict(
    draws: Draws, fleet: WaveArrays, values: Mapping[int, NDArray[np.float64]], rules: Rules
) -> WaveVerdict:
    numbers, budget = list(values), spending(rules.alpha, rules.looks)
    compared: dict[int | None, NDArray[np.float64]] = {}

    def smallest() -> Iterator[NDArray[np.float64]]:
        nonlocal compared
        for number in numbers:  # one by one: none after a breach, and no more of them in memory than one
            compared = fleet.compared(values[number], rules, draws)
            rows = [row for d in compared.values() for row in d]
            yield smallest_p(rows, rules.alpha) if rows else np.ones(len(draws))

    looked = follow(smallest(), [budget[number - 1] for number in numbers])
    newest = numbers[len(looked) - 1]
    found = [
        _contrast(fleet, rules, where, s, values[newest][s], p_value(d[s]))
        for where, d in compared.items()
        for s in range(len(rules.series))
    ]
    contrasts = tuple(
        sorted((c for c in found if c.members and c.controls), key=lambda c: (c.p, c.hardware_class))
    )
    last = looked[-1]
    unserved = not rules.shows_what_was_served(contrasts)
    text = words.sum_up(newest, rules.looks, contrasts, last, unserved=unserved)
    return WaveVerdict(last.breach, rules.alpha, contrasts, text, newest, last.p, last.threshold)


def _contrast(
    fleet: WaveArrays, rules: Rules, number: int | None, s: int, values: NDArray[np.float64], p: float
) -> Contrast:
    inside = np.isfinite(values) & (True if number is None else fleet.stratum == number)
    kept = np.where(inside, values, np.nan)
    series = rules.series[s]
    moved = shift(fleet.member, fleet.stratum, kept)
    around = None
    if series not in SERIES["silence"]:
        around = interval(fleet.member, fleet.stratum, kept)
    else:  # the median of zeros and ones hides what the shares show
        moved = _mean(kept[fleet.member]) - _mean(kept[~fleet.member])
    return Contrast(
        series=series,
        hardware_class="" if number is None else fleet.names[number],
        shift=moved,
        allowed=rules.allowed(series),
        members=int((inside & fleet.member).sum()),
        controls=int((inside & ~fleet.member).sum()),
        p=p,
        interval=around,
    )


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[np.isfinite(values)]
    return float(counted.mean()) if len(counted) else 0.0
