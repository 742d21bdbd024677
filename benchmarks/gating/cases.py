"""The cases: how many boards, how slow, where; and what every test says of one fleet of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import numpy as np

from benchmarks.gating.fleets import REQUESTS, WINDOWS, histograms, simulate
from benchmarks.gating.naive import Sums, first_alarms
from edgelift_fleet.rollout.gates.measure import Reading, Stretch, measure
from edgelift_fleet.rollout.gates.wave import Drawn, Look, Rules, judge_wave
from edgelift_fleet.simulate.noise import Noise

RULES = Rules(watched=("latency",))

#: Slowdowns of the release: none, what is allowed, and what is to be found.
SLOWDOWNS = (0.0, RULES.slower, 0.10, 0.15, 0.30)

#: Looks at the end of every tenth window.
ENDS = [WINDOWS * (look + 1) // RULES.looks for look in range(RULES.looks)]

CLASSES = ("arm64-dotprod", "arm64-neon", "jetson-ampere")


@dataclass(frozen=True)
class Kind:
    """One kind of fleet.

    Attributes:
        members, controls: in each class.
        classes: how many.
        slow_classes: how many of them the release is slow on, the last ones.
    """

    members: int
    controls: int
    classes: int = 1
    slow_classes: int = 1


KINDS = (
    Kind(1, 20), Kind(3, 20), Kind(5, 20), Kind(20, 20), Kind(1, 120),
    Kind(2, 20, classes=3), Kind(5, 20, classes=3), Kind(5, 20, classes=3, slow_classes=3),
)  # fmt: skip

#: (kind's index, slowdown, test) → the minute of the alarm, None for none.
Alarms = dict[tuple[int, float, str], int | None]


def judge_fleet(seed: int) -> Alarms:
    """Every case on fleets of this seed. The kinds of one class share a fleet, members and controls taken from its ends."""
    found: Alarms = {}
    single = max(k.members + k.controls for k in KINDS if k.classes == 1)
    rows = _Rows(seed, single)
    for index, kind in enumerate(KINDS):
        if kind.classes == 1:
            controls = slice(single - kind.controls, single)
            for slowdown in SLOWDOWNS:
                found[index, slowdown, "gate"] = rows.gate([(slice(kind.members), controls, slowdown)])
                naive = first_alarms(rows.sums, kind.members, controls, log(1 + slowdown), RULES)
                found.update({(index, slowdown, test): at for test, at in naive.items()})
    size = max(k.members + k.controls for k in KINDS if k.classes > 1)
    rows = _Rows(seed + 1_000_000, size * len(CLASSES))
    for index, kind in enumerate(KINDS):
        if kind.classes > 1:
            for slowdown in SLOWDOWNS:
                found[index, slowdown, "gate"] = rows.gate(list(_by_class(kind, size, slowdown)))
    return found


def _by_class(kind: Kind, size: int, slowdown: float) -> Iterator[tuple[slice, slice, float]]:
    for number in range(kind.classes):
        start, end = number * size, (number + 1) * size
        slow = slowdown if number >= kind.classes - kind.slow_classes else 0.0
        yield slice(start, start + kind.members), slice(end - kind.controls, end), slow


class _Rows:
    """A fleet, and what its devices measured as members at each slowdown and as controls, made when asked for."""

    def __init__(self, seed: int, devices: int) -> None:
        self._seed = seed
        self._fleet = simulate(seed, devices, Noise())
        self.sums = Sums(self._fleet.before, self._fleet.since)
        self._before = [spans[0] for spans in histograms(self._fleet.before, [WINDOWS])]
        self._measured: dict[tuple[int, bool, float], list[dict[str, float]]] = {}

    def gate(self, classes: list[tuple[slice, slice, float]]) -> int | None:
        """The minute in which the gate alarms; per class its members, its controls, and how slow the release is."""
        members, controls = {}, {}
        looks: list[dict[str, dict[str, float]]] = [{} for _ in ENDS]
        for name, (mine, others, slowdown) in zip(CLASSES, classes, strict=False):
            for device in range(mine.start or 0, mine.stop):
                members[f"b{device:03}"] = name
                _put(looks, device, self._series(device, True, slowdown))
            for device in range(others.start, others.stop):
                controls[f"b{device:03}"] = name
                _put(looks, device, self._series(device, False, 0.0))
        seen: dict[int, Look] = dict(enumerate(looks, start=1))
        verdict = judge_wave(Drawn(members, controls, self._seed), seen, RULES)
        return ENDS[verdict.look - 1] if verdict.breach else None

    def _series(self, device: int, member: bool, slowdown: float) -> list[dict[str, float]]:
        key = device, member, slowdown
        if key not in self._measured:
            logs = self._fleet.since[device : device + 1] + np.float32(log(1 + slowdown))
            since = histograms(logs, ENDS)[0]
            self._measured[key] = [self._measure(device, member, stretch) for stretch in since]
        return self._measured[key]

    def _measure(self, device: int, member: bool, since: Stretch) -> dict[str, float]:
        return measure(
            Reading({False: self._before[device]}, {False: since}), member=member, min_requests=REQUESTS
        )


def _put(looks: list[dict[str, dict[str, float]]], device: int, series: list[dict[str, float]]) -> None:
    for look, numbers in zip(looks, series, strict=True):
        look[f"b{device:03}"] = numbers
