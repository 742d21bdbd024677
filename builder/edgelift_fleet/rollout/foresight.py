"""What a rollout will decide next if nothing goes wrong: the controller's own rule, asked of a moment to come. Pure.

For a page, so from counts and not from devices: who stands alike is told apart by nothing that the rule asks of them, but
for windows and limits, which are left out here. So it says what follows, and when at the earliest; that windows and limits
may delay it is for the page to add. The rule itself (`decide`) sees one device after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Decision, Hold
from edgelift_fleet.rollout.looking import planned_looks
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.retry import retry_at
from edgelift_fleet.rollout.situation import (
    OUTSIDE,
    UNDER_WAY,
    DeviceSeen,
    DeviceStatus,
    GateSeen,
    Observations,
    RolloutState,
    Scope,
)

#: So often a moment to come is looked at: devices join, then the soak, then a deadline.
_TURNS = 6


@dataclass(frozen=True)
class Alike:
    """Devices of a rollout that stand alike: `count` of them; the rest as of `DeviceSeen`, times the latest of them."""

    wave: int
    status: DeviceStatus
    going_back: bool
    code: str
    tried: int
    count: int
    since: float
    assigned_at: float


@dataclass(frozen=True)
class Foresight:
    """What follows if all goes well.

    Attributes:
        decision: the first that is more than waiting, or a wait that time doesn't end.
        at: when at the earliest, seconds since 1970.
        under_way: devices that have to serve through their probation before.
        soaked_at: when the current wave has soaked, if they did so now; seconds since 1970.
    """

    decision: Decision
    at: float
    under_way: int
    soaked_at: float


def assemble(
    groups: Sequence[Alike], *, state: RolloutState, wave: int, cohort: int, approved: int = 1, back: Scope = "",
    gate: GateSeen | None = None, cause: str = "",
) -> Observations:  # fmt: skip
    """Observations of as many devices as were counted, by made-up names; `cohort` is how many are selected."""
    devices = [
        DeviceSeen(
            f"{number}.{one}", group.wave, group.status, group.since, group.assigned_at, "", group.going_back,
            group.code, group.tried,
        )
        for number, group in enumerate(groups)
        for one in range(group.count)
    ]  # fmt: skip
    selected = [d.device for d in devices if d.status != "left"][:cohort]
    others = [f"+{number}" for number in range(cohort - len(selected))]
    return Observations(
        state, wave, [*selected, *others], devices, back=back, approved=approved, gate=gate, cause=cause
    )


def unbound(plan: Plan) -> Plan:
    """The same plan without windows and limits."""
    return replace(plan, windows=(), concurrency=0, rate_per_min=0.0, bandwidth_bytes_s=0.0)


def foresee(plan: Plan, seen: Observations, now: float) -> Foresight:
    """What follows if every device that is under way commits now, nobody else fails, and the gate finds nothing.

    Args:
        plan: of the rollout.
        seen: as it stands; `running` or `scheduled`.
        now: seconds since 1970.
    """
    free = unbound(plan)
    under_way = sum(d.status in UNDER_WAY for d in seen.devices)
    hoped = replace(seen, devices=[_well(plan, d, now) for d in seen.devices], gate=_passed(plan, seen.gate))
    soaked_at = _soaked_at(free, hoped, now)
    at = max(now, plan.start_at if seen.wave < 0 else soaked_at)
    decision = decide(free, hoped, at)
    for _ in range(_TURNS):
        if not isinstance(decision, Hold):
            break
        if decision.join:
            joined = [DeviceSeen(name, hoped.wave, "committed", now, now) for name in decision.join]
            others = [d for d in hoped.devices if d.device not in decision.join]
            hoped = replace(hoped, devices=[*others, *joined])
            under_way += len(joined)
            soaked_at = _soaked_at(free, hoped, now)
            at = max(at, soaked_at)
        elif decision.until > at:
            at = decision.until
        else:
            break
        decision = decide(free, hoped, at)
    return Foresight(decision, at, under_way, soaked_at)


def overruled(gate: GateSeen | None) -> GateSeen | None:
    """The gate of a wave with which a person goes on: if it stopped the rollout it stops it no more."""
    return replace(gate, tested=False, breach=False) if gate and (gate.breach or gate.unmeasured) else gate


def _well(plan: Plan, device: DeviceSeen, now: float) -> DeviceSeen:
    again = device.status == "failed" and plan.retries and retry_at(plan, device.code, device.tried, device.since)
    if device.status in UNDER_WAY or again:
        return replace(device, status="committed", since=now)
    return device


def _passed(plan: Plan, gate: GateSeen | None) -> GateSeen | None:
    if gate is None or gate.breach:
        return gate
    if gate.taken >= planned_looks(plan):
        return gate  # what it found stands
    return replace(gate, taken=planned_looks(plan), unmeasured=False) if gate.tested else gate


def _soaked_at(plan: Plan, seen: Observations, now: float) -> float:
    reached = [d for d in seen.devices if d.status not in OUTSIDE and d.status not in ("held", "offline")]
    return max((d.since for d in reached), default=now - plan.soak_s) + plan.soak_s
