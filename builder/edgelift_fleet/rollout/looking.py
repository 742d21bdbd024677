"""When a wave's gate looks, and that no wave goes on over a look that compared nobody. Pure.

Looks are planned within the soak; each is taken once. The last one, over which the next wave begins, waits until the
devices that are to be compared have served their least requests, for `gate_wait_s` at most. When it looks depends on how
much they have served, never on how fast: α is spent by the number of the look, whenever that comes. A wave that even then
can't be judged is *unmeasured*: a person decides, unless the plan says that it goes on.
"""

from __future__ import annotations

import time

from edgelift_fleet.rollout.decisions import Compare, Count, Decision, Hold, Pause
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import GateSeen

#: Devices send what they measured once a minute, seconds.
WINDOW_S = 60.0


def planned_looks(plan: Plan) -> int:
    """How often a gate looks at a wave: as often as was asked for, at most once a minute of soak, as windows come."""
    return max(1, min(plan.gate_looks, int(plan.soak_s // WINDOW_S)))


def looks_due(plan: Plan, soaked_at: float, now: float) -> int:
    """Which look is due by now at a wave that has soaked at `soaked_at`; 0 for none yet."""
    planned = planned_looks(plan)
    if now >= soaked_at:
        return planned
    return max(0, int((now - soaked_at + plan.soak_s) / plan.soak_s * planned))


def next_look_at(plan: Plan, soaked_at: float, now: float) -> float:
    """When the look after those that are due is, seconds since 1970."""
    return soaked_at - plan.soak_s + (looks_due(plan, soaked_at, now) + 1) * plan.soak_s / planned_looks(plan)


def watch(
    plan: Plan, gate: GateSeen | None, wave: int, soaked_at: float, now: float, *, listening_since: float = 0.0
) -> Decision | None:  # fmt: skip
    """What the gate of a wave that soaks, or has soaked, asks for now; None for nothing.

    Args:
        plan: of the rollout.
        gate: what it came to so far.
        wave: the current one, from 0.
        soaked_at: when the wave has soaked, seconds since 1970.
        now: seconds since 1970.
        listening_since: when devices could be heard again after a time in which they could not; what they measured in it
            comes only then.
    """
    if gate is None or not gate.tested:
        return None
    planned, due = planned_looks(plan), looks_due(plan, soaked_at, now)
    if gate.taken >= planned:
        stops = gate.unmeasured and plan.gate_unmeasured == "pause"
        return (
            Pause(f"Wave {wave + 1} is not measured: {gate.text}. Resume it to go on without.") if stops else None
        )
    if due <= gate.taken:
        return None
    swapped_at, ends_at = soaked_at - plan.soak_s, max(soaked_at, listening_since) + plan.gate_wait_s
    if due < planned:
        return Compare(due, swapped_at)
    if gate.served is None:
        return Count(swapped_at)
    if gate.served.ready or now >= ends_at:
        return Compare(planned, swapped_at)
    text = f"Wave {wave + 1} is compared when its boards have served enough: {gate.served.text}"
    since, until = clock(soaked_at), clock(ends_at, soaked_at)
    return Hold(f"{text}, needed since {since}; waits until {until} at most.", until=ends_at)


def clock(at: float, day: float = 0.0) -> str:
    """A time for people: `16:50 UTC`; with its date where that isn't the one of `day`."""
    there = time.gmtime(at)
    same = not day or there[:3] == time.gmtime(day)[:3]
    return time.strftime("%H:%M UTC" if same else "%Y-%m-%d %H:%M UTC", there)
