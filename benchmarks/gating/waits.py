"""Waves that wait for their boards' requests: thin traffic that comes late or never, thinner where a board is slow.

Minute by minute the rules of a rollout are asked, `looking.watch` and `gates.gathered.gather`, what they are asked while a
wave soaks and waits. So what a look compares, and when, is theirs to say, and whether that costs false alarms is seen.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.binned import Binned, Floats, bin_up, changes
from benchmarks.gating.cases import CLASSES, RULES, Found, Kind, Outcome, drawn_of
from benchmarks.gating.fleets import LEVEL, LEVELS, WINDOWS, effects
from benchmarks.gating.judging import first_breaches
from edgelift_fleet.rollout.decisions import Compare, Count
from edgelift_fleet.rollout.gates.gathered import Gathered, WaveBoard, gather
from edgelift_fleet.rollout.looking import WINDOW_S, watch
from edgelift_fleet.rollout.plan import Plan, Wave
from edgelift_fleet.rollout.situation import GateSeen, ServedSoFar
from edgelift_fleet.simulate.noise import Noise

#: Soaks for an hour, waits for another at most; boards may go without traffic.
PLAN = Plan((Wave(count=1), Wave(share=1.0)), soak_s=WINDOWS * WINDOW_S, gates=("latency", "silence"))
_RULES = replace(RULES, watched=PLAN.gates)
_LAST = WINDOWS + int(PLAN.gate_wait_s / WINDOW_S)


@dataclass(frozen=True)
class Traffic:
    """How boards are asked.

    Attributes:
        per_min, spread: requests a minute, the middle one of boards, and how far boards lie apart (sd of the logarithm).
        fewer: by how much fewer requests a slower board serves: their logarithm falls by this times that of latency.
        quiet: share of boards that nobody asks any more from the swap on.
        late: share of boards that are asked again only some time within the two hours after.
        late_slower: logarithm by which these are slower than before, whichever version they run.
        gone: share of boards that go away within the two hours.
    """

    per_min: float = 5.0
    spread: float = 0.6
    fewer: float = 1.0
    quiet: float = 0.05
    late: float = 0.2
    late_slower: float = 0.0
    gone: float = 0.03


TRAFFIC = {
    "thin": Traffic(),
    # The worst for a gate that waits: who comes late has a reason of its own to be slow, and one in two does.
    "late and slow": Traffic(quiet=0.02, late=0.5, late_slower=0.3),
}
_SIZES = ((1, 120, 1), (3, 20, 1), (5, 20, 1), (12, 60, 1), (3, 20, 3))
KINDS = tuple(Kind(n, m, c, c, traffic=t) for t in TRAFFIC for n, m, c in _SIZES)

#: What is found is seen of the first kind of traffic; of the other how often the gate is wrong.
_SLOWDOWNS = {"thin": (0.0, RULES.slower, 0.15, 0.30), "late and slow": (0.0, RULES.slower)}


def judge_waiting(seed: int) -> Found:
    """Every case on fleets of this seed."""
    found: Found = {}
    for kind in KINDS:
        fleet = _Thin(seed, kind)
        slowdowns = _SLOWDOWNS[kind.traffic]
        said = fleet.judge(slowdowns)
        found.update({(kind, slowdown, "gate"): one for slowdown, one in zip(slowdowns, said, strict=True)})
    return found


class _Thin:
    """A fleet whose boards are asked now and then: members of each class first, then its controls."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self._seed, self._kind, self._traffic = seed, kind, TRAFFIC[kind.traffic]
        one = kind.members + kind.controls
        self._devices = one * kind.classes
        self._sides = [(slice(n * one, n * one + kind.members), slice(n * one + kind.members, (n + 1) * one))
                       for n in range(kind.classes)]  # fmt: skip
        rng = np.random.default_rng([seed, 7, self._devices])
        self._moved = effects(rng, seed, self._devices, _LAST, Noise())
        self._level = LEVEL + LEVELS * rng.standard_normal(self._devices)
        self._rate = self._traffic.per_min * np.exp(self._traffic.spread * rng.standard_normal(self._devices))
        fate, when = rng.random(self._devices), rng.integers(1, _LAST, self._devices)
        late = fate < self._traffic.late
        quiet = (fate >= self._traffic.late) & (fate < self._traffic.late + self._traffic.quiet)
        self._from = np.where(quiet, _LAST, np.where(late, when, 0))
        self._gone_at = np.where(
            rng.random(self._devices) < self._traffic.gone, rng.integers(1, _LAST, self._devices), _LAST + 1
        )
        self._moved[late, WINDOWS:] += self._traffic.late_slower
        before = self._requests(rng, self._moved[:, :WINDOWS])
        self._before = self._bin(rng, before, self._moved[:, :WINDOWS], [WINDOWS])
        self._had = before.sum(axis=1) >= PLAN.gate_min_requests
        self._member = np.zeros(self._devices, dtype=bool)
        for mine, _ in self._sides:
            self._member[mine] = True
        self._drawn = drawn_of(seed, self._sides)

    def _requests(self, rng: np.random.Generator, moved: Floats) -> NDArray[np.int64]:
        """int[boards, minutes]."""
        return rng.poisson(self._rate[:, None] * np.exp(-self._traffic.fewer * moved))

    def _bin(
        self, rng: np.random.Generator, requests: NDArray[np.int64], moved: Floats, ends: list[int]
    ) -> Binned:
        minutes = ends[-1]
        counts = requests[:, :minutes].ravel()
        middle = (self._level[:, None] + moved[:, :minutes]).ravel()
        logs = np.repeat(middle, counts) + Noise().request_sd * rng.standard_normal(int(counts.sum()))
        moment = np.searchsorted(ends, np.arange(minutes), side="right")
        places = ((np.arange(self._devices) * len(ends))[:, None] + moment).ravel()
        return bin_up(np.repeat(places, counts), logs, self._devices, len(ends))

    def judge(self, slowdowns: Sequence[float]) -> list[Outcome]:
        """What the gate comes to, for each of these slowdowns of every member."""
        runs = [self._run(slowdown) for slowdown in slowdowns]
        breaches = first_breaches(self._drawn, [looks for looks, _, _ in runs], _RULES)
        return [
            Outcome(ends[look - 1] if look else None, not look and far.comparable and not far.enough, ends[-1])
            for look, (_, ends, far) in zip(breaches, runs, strict=True)
        ]

    def _run(self, slowdown: float) -> tuple[Floats, list[int], Gathered]:
        """What its looks measured, in which minutes, and how far the wave was at the last of them."""
        rng = np.random.default_rng([self._seed, 11])
        moved = self._moved[:, WINDOWS:] + np.where(self._member, log(1 + slowdown), 0.0)[:, None]
        requests = self._requests(rng, moved)
        minutes = np.arange(_LAST)
        requests[(minutes < self._from[:, None]) | (minutes >= self._gone_at[:, None])] = 0
        ends, far = self._looks(requests.cumsum(axis=1))
        return self._measure(self._bin(rng, requests, moved, ends), ends), ends, far

    def _looks(self, served: NDArray[np.int64]) -> tuple[list[int], Gathered]:
        """The minutes of the looks, and how far the wave was at the last of them, as the rollout's own rules have it."""
        gate, ends, soaked_at = GateSeen(tested=True), list[int](), PLAN.soak_s
        for minute in range(1, WINDOWS):
            decision = watch(PLAN, gate, 0, soaked_at, minute * WINDOW_S)
            if isinstance(decision, Compare):
                ends.append(minute)
                gate = replace(gate, taken=decision.look)
        # Asked each minute it would say no, and no, and once yes: that minute is found by halving.
        asked = range(WINDOWS, _LAST + 1)
        far = lru_cache(lambda minute: self._far(served[:, minute - 1], minute))

        def looks(minute: int) -> bool:
            now = minute * WINDOW_S
            assert isinstance(watch(PLAN, gate, 0, soaked_at, now), Count)
            counted = replace(gate, served=ServedSoFar(far(minute).ready))
            return isinstance(watch(PLAN, counted, 0, soaked_at, now), Compare)

        last = asked[bisect_left(asked, True, key=looks)]
        return [*ends, last], far(last)

    def _far(self, served: NDArray[np.int64], minute: int) -> Gathered:
        has, there = self._had & (served >= PLAN.gate_min_requests), minute < self._gone_at
        bits = np.stack([self._member, self._had, has, there, served == 0]).astype(np.int64)
        kinds = np.array([16, 8, 4, 2, 1]) @ bits
        boards = Counter[WaveBoard]()
        for (mine, others), name in zip(self._sides, CLASSES, strict=False):
            for kind, number in enumerate(np.bincount(kinds[mine.start : others.stop]).tolist()):
                if number:
                    is_member, had, has_served, is_there, idle = (bool(kind & bit) for bit in (16, 8, 4, 2, 1))
                    boards[WaveBoard(name, is_member, False, had, has_served, is_there, idle)] = number
        return gather(boards, _RULES.alpha, PLAN.gate_min_requests, idle_allowed=True)

    def _measure(self, since: Binned, ends: list[int]) -> Floats:
        """float[boards, looks, series]."""
        gone = (self._gone_at[:, None] <= np.array(ends)).astype(float)
        idle = np.where(self._had[:, None], since.total == 0, np.nan).astype(float)
        found = changes(self._before, since, PLAN.gate_min_requests, member=self._member)
        return np.concatenate([found, gone[:, :, None], idle[:, :, None]], axis=2)
