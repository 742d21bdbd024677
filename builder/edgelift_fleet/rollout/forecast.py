"""What a plan comes to before it begins: who is in which wave, and how long it takes at least. Pure.

A forecast: waves are drawn when they begin, among the devices that are there then; the first one is what it will be if
it begins now.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from edgelift_fleet.cohorts import Member
from edgelift_fleet.rollout.draw import order
from edgelift_fleet.rollout.pace import Trait, takes_s, zone_of
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.windows import next_open

#: A forecast goes no further: what would end later is told to end then (a year beyond 5000), seconds since 1970.
LATEST = 1e11


def draw_waves(plan: Plan, members: Sequence[Member], cohort: Sequence[Member] = ()) -> list[list[str]]:
    """The ids of each wave's devices, in the order in which they are drawn; as many lists as the plan has waves.

    As the rollout does: a wave is a share of all that are selected; whom nothing suits is found out when it is drawn,
    leaves the arithmetic then, and others are drawn in its place.

    Args:
        plan: whose waves, and seed.
        members: those that get something.
        cohort: all that are selected, among whom the rollout draws; `members` when empty.
    """
    everybody, suited = cohort or members, {member.device for member in members}
    left, reached = {member.device for member in everybody}, 0
    lots = functools.cache(lambda wave: order(everybody, plan.seed or 0, wave))
    waves: list[list[str]] = []
    for number, wave in enumerate(plan.waves):
        drawn: list[str] = []
        # Who comes in another's place is drawn as for the next wave. Each order is gone through once, however many come.
        first, others = iter(lots(number)), iter(lots(number + 1))
        taken = _take(first, left, wave.reach(len(left) + reached) - reached)
        while taken:
            found = [device for device in taken if device in suited]
            drawn += found
            reached += len(found)
            taken = _take(others, left, wave.reach(len(left) + reached) - reached)
        waves.append(drawn)
    return waves


def _take(lots: Iterator[str], left: set[str], wanted: int) -> list[str]:
    """The next `wanted` that are left, who are left no more."""
    taken = list(itertools.islice((device for device in lots if device in left), max(0, wanted)))
    left.difference_update(taken)
    return taken


def ends(
    plan: Plan, probation_s: float, waves: Sequence[Sequence[str]], traits: Mapping[str, Trait], now: float
) -> list[float]:
    """When each wave has served and soaked at the earliest, seconds since 1970.

    Args:
        plan: start time, windows, limits, soak.
        probation_s: of each device.
        waves: as `draw_waves` gives them.
        traits: of the devices that have to change anything: who runs the release already takes no time.
        now: seconds since 1970.
    """
    found, at = [], max(now, plan.start_at)
    for wave in waves:
        changed = [traits[device] for device in wave if device in traits]
        if changed:
            at = begins_last(plan, changed, probation_s, at) + probation_s
        if wave:
            at += plan.soak_s
        at = min(at, LATEST)
        found.append(at)
    return found


def begins_last(plan: Plan, wave: Sequence[Trait], probation_s: float, at: float) -> float:
    """When the last of these devices may begin at the earliest, if the first one may at `at`."""
    number, total = len(wave), sum(trait.size_bytes for trait in wave)
    largest = max(trait.size_bytes for trait in wave)
    opened = max(
        next_open(plan.windows, zone_of(plan, trait.timezone), at, takes_s(plan, trait)) for trait in wave
    )
    paced = [0.0]
    if plan.rate_per_min:
        paced.append(60 * (number - 1) / plan.rate_per_min - 1)
    if plan.bandwidth_bytes_s:
        paced.append((total - largest) / plan.bandwidth_bytes_s - 1)
    if plan.concurrency:
        paced.append((math.ceil(number / plan.concurrency) - 1) * probation_s)
    return max(opened, at + max(paced))
