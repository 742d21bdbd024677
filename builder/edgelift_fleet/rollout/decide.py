"""What a rollout does next: a pure rule over its plan and what was observed. No I/O, no clock of its own.

Waves are cumulative shares of a cohort. The rules, in the order in which they are asked:

1. A rollout that has ended stays as it ended.
2. While devices go back, nothing else happens; it has ended when all of them have, or at their deadline.
3. More failed devices than the plan tolerates: the current wave goes back. A silent device is a failed one
   once its deadline has passed.
4. A wave whose share isn't reached yet takes in more devices: late joiners, or others in place of those that a
   direct assignment took away. Were all taken away and nobody is left, it pauses and says so.
5. The next wave begins only when every device of this one has *committed*, which means that it served through
   its probation, and has done so for the soak time.

What is not decided here: which artifact suits a device, or in which order devices come; the cohort is given in
the order of choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgelift_fleet.rollout.plan import Plan

#: `restored` has the artifact again that it had before; `superseded` was taken away by a direct assignment.
DeviceStatus = Literal["waiting", "updating", "committed", "failed", "superseded", "restored"]
RolloutState = Literal["running", "paused", "rolling-back", "rolled-back", "done", "cancelled"]

TERMINAL: frozenset[RolloutState] = frozenset({"rolled-back", "done", "cancelled"})


@dataclass(frozen=True)
class DeviceSeen:
    """A device that the rollout reached, as observed.

    Attributes:
        device: its id.
        wave: the wave that reached it, from 0.
        status: where it stands.
        since: since when, host's clock, seconds since 1970.
        assigned_at: when it was last assigned something by this rollout.
        reason: of a failure; for people.
        going_back: was it assigned its previous version?
    """

    device: str
    wave: int
    status: DeviceStatus
    since: float
    assigned_at: float
    reason: str = ""
    going_back: bool = False


@dataclass(frozen=True)
class Observations:
    """All that a decision may depend on.

    Attributes:
        state: of the rollout.
        wave: the current one, from 0; -1 before the first.
        cohort: ids of all devices that are selected now, in the order of choice.
        devices: those that the rollout reached.
    """

    state: RolloutState
    wave: int
    cohort: Sequence[str]
    devices: Sequence[DeviceSeen] = field(default=())


@dataclass(frozen=True)
class Advance:
    """Begin wave `wave` with these devices."""

    wave: int
    devices: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Hold:
    """Wait; `join` are devices that the current wave takes in meanwhile."""

    reason: str
    join: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pause:
    """Stop and let a person look."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """Give these devices back what they had before."""

    devices: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Finish:
    """It has ended, in `state`."""

    state: RolloutState
    reason: str


Decision = Advance | Hold | Pause | RollBack | Finish


def decide(plan: Plan, seen: Observations, now: float) -> Decision:
    """What to do now; see the rules above. Same arguments, same answer."""
    if seen.state in TERMINAL:
        return Finish(seen.state, f"It is {seen.state}.")
    if seen.state == "rolling-back":
        return _while_going_back(plan, seen, now)
    if seen.state == "paused":
        return Hold("It is paused.")
    failed = [d for d in seen.devices if d.status == "failed" or _is_silent(plan, d, now)]
    if len(failed) > plan.max_failures:
        return _roll_back(plan, seen, failed)
    if seen.wave < 0:
        return _begin(plan, seen)
    return _current_wave(plan, seen, now)


def _current_wave(plan: Plan, seen: Observations, now: float) -> Decision:
    counted = [d for d in seen.devices if d.status != "superseded"]
    lacking = _free(seen)[: max(0, plan.waves[seen.wave].reach(len(seen.cohort)) - len(counted))]
    if lacking:
        return Hold(f"Wave {seen.wave + 1} takes in {_many(len(lacking))} more.", tuple(lacking))
    if not counted:
        return Pause("Every device was taken out by a direct assignment.")
    if waiting := [d for d in counted if d.status in ("waiting", "updating") and not _is_silent(plan, d, now)]:
        return Hold(f"Waiting for {_named([d.device for d in waiting])} to serve through probation.")
    if not any(d.status == "committed" for d in counted if d.wave == seen.wave) and any(
        d.wave == seen.wave for d in counted
    ):
        return Pause(f"Not one device of wave {seen.wave + 1} committed.")
    soaked_at = max((d.since for d in counted), default=now) + plan.soak_s
    if now < soaked_at:
        return Hold(f"Wave {seen.wave + 1} soaks for {plan.soak_s:g} s.")
    return _next_wave(plan, seen)


def _begin(plan: Plan, seen: Observations) -> Decision:
    if not seen.cohort:
        return Hold("No device is selected yet.")
    first = _free(seen)[: plan.waves[0].reach(len(seen.cohort))]
    return Advance(0, tuple(first), f"Wave 1 of {len(plan.waves)} begins with {_many(len(first))}.")


def _next_wave(plan: Plan, seen: Observations) -> Decision:
    reached = {d.device for d in seen.devices}
    counted = sum(d.status != "superseded" for d in seen.devices)
    for number in range(seen.wave + 1, len(plan.waves)):
        more = _free(seen)[: max(0, plan.waves[number].reach(len(seen.cohort)) - counted)]
        if more:
            text = (
                f"Wave {number} committed; wave {number + 1} of {len(plan.waves)} begins with {_many(len(more))}."
            )
            return Advance(number, tuple(more), text)
    committed = sum(d.status == "committed" for d in seen.devices)
    text = f"{committed} of {_many(len(reached))} committed."
    taken = len(reached) - counted
    return Finish("done", f"{text} {taken} got something else by a direct assignment." if taken else text)


def _roll_back(plan: Plan, seen: Observations, failed: Sequence[DeviceSeen]) -> Decision:
    reasons = "; ".join(f"{d.device}: {d.reason or 'no answer before its deadline'}" for d in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    reason = f"{_many(len(failed))} failed, {plan.max_failures} allowed: {reasons}{more}"
    names = {d.device for d in failed}
    back = [d for d in seen.devices if d.wave == seen.wave or d.device in names]
    return RollBack(tuple(d.device for d in back if d.status != "superseded"), reason)


def _while_going_back(plan: Plan, seen: Observations, now: float) -> Decision:
    going = [d for d in seen.devices if d.going_back and d.status not in ("restored", "superseded")]
    late = [d for d in going if now >= d.assigned_at + plan.deadline_s]
    if len(going) > len(late):
        return Hold(f"Waiting for {_named([d.device for d in going])} to go back.")
    if late:
        return Finish("rolled-back", f"{_named([d.device for d in late])} did not say that it went back.")
    return Finish("rolled-back", "Every device of the wave has its previous version.")


def _is_silent(plan: Plan, device: DeviceSeen, now: float) -> bool:
    return device.status in ("waiting", "updating") and now >= device.assigned_at + plan.deadline_s


def _free(seen: Observations) -> list[str]:
    reached = {d.device for d in seen.devices}
    return [device for device in seen.cohort if device not in reached]


def _many(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _named(devices: Sequence[str]) -> str:
    shown = ", ".join(sorted(devices)[:3])
    return f"{shown} and {len(devices) - 3} more" if len(devices) > 3 else shown
