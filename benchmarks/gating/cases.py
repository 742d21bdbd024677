"""The cases: how many boards, how slow, where; and what every test says of one fleet of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.binned import QUANTILES, Binned, Floats, changes
from benchmarks.gating.fleets import REQUESTS, WINDOWS, Fleet, binned, simulate
from benchmarks.gating.judging import first_breaches
from benchmarks.gating.naive import Sums, first_alarms
from edgelift_fleet.rollout.gates.wave import Drawn, Rules
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
        traffic: a key of `waits.TRAFFIC`; empty where every board serves as much, and nobody is waited for.
    """

    members: int
    controls: int
    classes: int = 1
    slow_classes: int = 1
    traffic: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a test said of one fleet.

    Attributes:
        alarm: the minute of its alarm; None for none.
        unmeasured: would the wave have been called unmeasured?
        looked: the minute of the last look.
    """

    alarm: int | None
    unmeasured: bool = False
    looked: int = ENDS[-1]


KINDS = (
    Kind(1, 20), Kind(3, 20), Kind(5, 20), Kind(20, 20), Kind(1, 120),
    Kind(2, 20, classes=3), Kind(5, 20, classes=3), Kind(5, 20, classes=3, slow_classes=3),
)  # fmt: skip

#: (kind, slowdown, test) → what it said.
Found = dict[tuple[Kind, float, str], Outcome]


def judge_fleet(seed: int) -> Found:
    """Every case on fleets of this seed. The kinds of one class share a fleet, members and controls taken from its ends."""
    found: Found = {}
    singles = [kind for kind in KINDS if kind.classes == 1]
    single = max(k.members + k.controls for k in singles)
    rows = _Rows(seed, single, [(slice(0, max(k.members for k in singles)), slice(0, single))])
    for kind in singles:
        controls = slice(single - kind.controls, single)
        found |= rows.judge(kind, [[(slice(0, kind.members), controls, s)] for s in SLOWDOWNS])
        for slowdown in SLOWDOWNS:
            naive = first_alarms(rows.sums, kind.members, controls, log(1 + slowdown), RULES)
            found.update({(kind, slowdown, test): Outcome(at) for test, at in naive.items()})
    several = [kind for kind in KINDS if kind.classes > 1]
    most, size = max(k.members for k in several), max(k.members + k.controls for k in several)
    starts = range(0, size * len(CLASSES), size)
    sides = [(slice(start, start + most), slice(start, start + size)) for start in starts]
    rows = _Rows(seed + 1_000_000, size * len(CLASSES), sides)
    for kind in several:
        found |= rows.judge(kind, [list(_by_class(kind, size, s)) for s in SLOWDOWNS])
    return found


def _by_class(kind: Kind, size: int, slowdown: float) -> Iterator[tuple[slice, slice, float]]:
    for number in range(kind.classes):
        start, end = number * size, (number + 1) * size
        slow = slowdown if number >= kind.classes - kind.slow_classes else 0.0
        yield slice(start, start + kind.members), slice(end - kind.controls, end), slow


class _Rows:
    """A fleet, and what its devices measured as members at each slowdown and as controls.

    `sides` are the devices that may be members and controls, of each class.
    """

    def __init__(self, seed: int, devices: int, sides: list[tuple[slice, slice]]) -> None:
        self._seed = seed
        fleet = simulate(seed, devices, Noise())
        self.sums = Sums(fleet.before, fleet.since)
        before = binned(fleet.before, [WINDOWS])
        every = np.arange(devices)
        #: float[slowdowns, devices, looks, quantiles]; of controls there is but one slowdown, none.
        self._members = np.full((len(SLOWDOWNS), devices, len(ENDS), len(QUANTILES)), np.nan)
        self._controls = np.full((devices, len(ENDS), len(QUANTILES)), np.nan)
        mine, others = (np.concatenate([every[side] for side in sides]) for sides in zip(*sides, strict=True))
        self._controls[others] = _measured(fleet, before, others, [0.0], member=False)[0]
        self._members[:, mine] = _measured(fleet, before, mine, SLOWDOWNS, member=True)

    def judge(self, kind: Kind, runs: list[list[tuple[slice, slice, float]]]) -> Found:
        """What the gate says at each of SLOWDOWNS; a run has per class members, controls, and how slow the release is."""
        drawn = drawn_of(self._seed, [(mine, others) for mine, others, _ in runs[0]])
        seen = [
            np.concatenate(
                [
                    part
                    for mine, others, slowdown in run
                    for part in (self._members[SLOWDOWNS.index(slowdown), mine], self._controls[others])
                ]
            )
            for run in runs
        ]
        breaches = first_breaches(drawn, seen, RULES)
        alarms = [ENDS[look - 1] if look else None for look in breaches]
        return {(kind, s, "gate"): Outcome(at) for s, at in zip(SLOWDOWNS, alarms, strict=True)}


def _measured(
    fleet: Fleet, before: Binned, devices: NDArray[np.intp], slowdowns: Sequence[float], *, member: bool
) -> Floats:
    """float[slowdowns, devices, looks, quantiles]."""
    logs = fleet.since[devices]
    slower = np.log1p(np.array(slowdowns)).astype(np.float32)[:, None, None, None]
    slow = (logs + slower).reshape(-1, *logs.shape[1:])
    found = changes(before.of(devices), binned(slow, ENDS), REQUESTS, member=np.full(len(slow), member))
    return found.reshape(len(slowdowns), len(devices), *found.shape[1:])


def drawn_of(seed: int, sides: list[tuple[slice, slice]]) -> Drawn:
    """A wave and its controls: of each class the boards on both sides. Twenty seeds of draws serve in turn."""
    members, controls = dict[str, str](), dict[str, str]()
    for name, (mine, others) in zip(CLASSES, sides, strict=False):
        members |= dict.fromkeys(_names(mine), name)
        controls |= dict.fromkeys(_names(others), name)
    return Drawn(members, controls, seed % 20)


def _names(devices: slice) -> list[str]:
    return [f"b{number:03}" for number in range(devices.start, devices.stop)]
