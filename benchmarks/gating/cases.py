"""The cases: how many boards, how slow, where; and what every test says of one fleet of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.binned import Floats, changes
from benchmarks.gating.fleets import REQUESTS, WINDOWS, binned, simulate
from benchmarks.gating.naive import Sums, first_alarms
from edgelift_fleet.rollout.gates.compare import differences
from edgelift_fleet.rollout.gates.draws import Draws, draw
from edgelift_fleet.rollout.gates.measure import SERIES
from edgelift_fleet.rollout.gates.wave import Drawn, Look, Rules, WaveArrays, judge_wave
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
    single = max(k.members + k.controls for k in KINDS if k.classes == 1)
    rows = _Rows(seed, single)
    for kind in KINDS:
        if kind.classes == 1:
            controls = slice(single - kind.controls, single)
            found |= rows.judge(kind, [[(slice(0, kind.members), controls, s)] for s in SLOWDOWNS])
            for slowdown in SLOWDOWNS:
                naive = first_alarms(rows.sums, kind.members, controls, log(1 + slowdown), RULES)
                found.update({(kind, slowdown, test): Outcome(at) for test, at in naive.items()})
    size = max(k.members + k.controls for k in KINDS if k.classes > 1)
    rows = _Rows(seed + 1_000_000, size * len(CLASSES))
    for kind in KINDS:
        if kind.classes > 1:
            found |= rows.judge(kind, [list(_by_class(kind, size, s)) for s in SLOWDOWNS])
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
        self._measured: dict[tuple[int, int, bool], Floats] = {}

    def judge(self, kind: Kind, runs: list[list[tuple[slice, slice, float]]]) -> Found:
        """What the gate says at each of SLOWDOWNS; a run has per class members, controls, and how slow the release is."""
        drawn = Drawn({}, {}, draws_of(self._seed))
        many = [[dict[str, dict[str, float]]() for _ in ENDS] for _ in runs]
        for looks, run in zip(many, runs, strict=True):
            for name, (mine, others, slowdown) in zip(CLASSES, run, strict=False):
                members, controls = dict.fromkeys(names(mine), name), dict.fromkeys(names(others), name)
                drawn = replace(drawn, members=drawn.members | members, controls=drawn.controls | controls)
                put(looks, members, self._series(mine, True)[SLOWDOWNS.index(slowdown)])
                put(looks, controls, self._series(others, False)[0])
        seen: list[dict[int, Look]] = [dict(enumerate(looks, start=1)) for looks in many]
        breaches = first_breaches(drawn, seen, RULES)
        alarms = [ENDS[look - 1] if look else None for look in breaches]
        return {(kind, s, "gate"): Outcome(at) for s, at in zip(SLOWDOWNS, alarms, strict=True)}

    def _series(self, devices: slice, member: bool) -> Floats:
        """float[slowdowns, devices, looks, quantiles]; of controls there is but one, 0."""
        key = devices.start, devices.stop, member
        if key not in self._measured:
            slowdowns = np.array(SLOWDOWNS if member else [0.0])
            before = binned(self._fleet.before[devices], [WINDOWS])
            logs = self._fleet.since[devices]
            slow = (logs + np.log1p(slowdowns).astype(np.float32)[:, None, None, None]).reshape(
                -1, *logs.shape[1:]
            )
            found = changes(before.again(len(slowdowns)), binned(slow, ENDS), REQUESTS, member=member)
            self._measured[key] = found.reshape(len(slowdowns), len(logs), *found.shape[1:])
        return self._measured[key]


def names(devices: slice) -> list[str]:
    """What boards of these numbers are called."""
    return [f"b{number:03}" for number in range(devices.start, devices.stop)]


def put(looks: list[dict[str, dict[str, float]]], boards: Iterable[str], values: Floats, **more: Any) -> None:
    """Tell each look what these boards measured.

    Args:
        looks: they are told.
        boards: their names.
        values: float[boards, looks, latency's series].
        more: other series, float[boards, looks] each.
    """
    series = [*SERIES["latency"], *(name.replace("_", " ") for name in more)]
    every = np.concatenate([values, *(np.asarray(value)[:, :, None] for value in more.values())], axis=2)
    for board, of_board in zip(boards, every.tolist(), strict=True):
        for look, numbers in zip(looks, of_board, strict=True):
            look[board] = dict(zip(series, numbers, strict=True))


def draws_of(seed: int) -> int:
    """The seed of a fleet's draws: twenty serve in turn, for making them takes a while."""
    return seed % 20


def first_breaches(drawn: Drawn, runs: list[dict[int, Look]], rules: Rules) -> list[int]:
    """The look at which the gate calls a wave bad, for each of several runs of it; 0 for none."""
    found = []
    for looks, well in zip(runs, plainly_well(drawn, runs, rules), strict=True):
        verdict = None if well else judge_wave(drawn, looks, rules, make=kept_draws)
        found.append(verdict.look if verdict and verdict.breach else 0)
    return found


#: Draws among which it is seen that most waves are well.
_SOME = 3_000


def plainly_well(drawn: Drawn, runs: list[dict[int, Look]], rules: Rules) -> list[bool]:
    """Can the gate not call these runs bad, by some of the draws alone? Spares most of the work where nothing is wrong.

    No guess: where already so many of them differ by more than the wave does as `smallest_p` keeps in all, in every
    comparison of every look, the wave's smallest p is 1 at each look, and nothing follows from that.
    """
    fleet = WaveArrays(drawn)
    draws = kept_draws(fleet.member, fleet.stratum, seed=drawn.seed)
    if len(draws) <= _SOME:
        return [False] * len(runs)
    some, most = Draws(draws.members[:_SOME], exact=False), ceil(rules.alpha * len(draws)) + 1
    allowed = np.array([rules.allowed(series) for series in rules.series])[:, None]
    rows = [fleet.values(look, rules.series) for looks in runs for look in looks.values()]
    raised = np.concatenate([np.where(fleet.member, row - allowed, row) for row in rows])
    well = np.ones(len(raised), dtype=bool)
    for differing in differences(some, fleet.stratum, raised).values():
        worse = (differing > differing[:, :1]).sum(axis=1)
        well &= (worse >= most) | (differing.max(axis=1) == differing.min(axis=1))
    return [bool(one.all()) for one in np.split(well, len(runs))]


@lru_cache(maxsize=400)
def _kept(member: bytes, stratum: bytes, seed: int) -> Draws:
    return draw(np.frombuffer(member, dtype=bool), np.frombuffer(stratum, dtype=np.int_), seed=seed)


def kept_draws(member: NDArray[np.bool_], stratum: NDArray[np.int_], *, seed: int) -> Draws:
    """As `draws.draw`: one fleet's draws serve for all slowdowns."""
    return _kept(member.tobytes(), stratum.tobytes(), seed)
