"""Which of the devices that a wave wants may begin now: start time, windows, concurrency, rates. Pure.

A wave's members are drawn first and begin when they may: who is asked never depends on when it may be asked.

What a rate bounds, exactly: in any stretch of T seconds at most `rate · (T + 1) + 1` devices are asked to begin, and
`bandwidth · (T + 1)` bytes and one artifact more. Bytes are those of the artifacts that devices are asked for, when
they are asked: a device that has some of the files already takes fewer, one that is off takes them when it is back.
How fast one device downloads is between it and the link.

With maintenance windows, a device begins only where its window stays open for as long as its update takes at least: its
probation, and its bytes at the plan's bandwidth where it has one. What
it was asked for and hasn't begun by then is taken back (`shut`): none begins out of its window because it was off within
it. An update that has begun is not cut off.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo

from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.windows import is_open, longest_s, next_open, open_zone

#: A rate is held over this time at least: a rollout is looked at about once a second, seconds.
_BURST_S = 1.0


@dataclass(frozen=True)
class Trait:
    """What of a device its pace depends on: its zone as it says, and the bytes of its artifact."""

    timezone: str = ""
    size_bytes: int = 0


@dataclass(frozen=True)
class Begun:
    """A device was asked to begin, seconds since 1970, for so many bytes."""

    at: float
    size_bytes: int = 0


@dataclass(frozen=True)
class Admitted:
    """Who may begin now; why the others wait, for people, empty when nobody does; and when that may change by time
    alone, seconds since 1970, 0 when it doesn't.
    """

    devices: tuple[str, ...]
    waits: str = ""
    until: float = 0.0


def admit(
    plan: Plan,
    wanted: Sequence[str],
    traits: Mapping[str, Trait],
    *,
    under_way: int,
    starts: Sequence[Begun],
    now: float,
) -> Admitted:
    """Which of `wanted` may begin now, in their order.

    Args:
        plan: whose limits.
        wanted: ids, in the order of choice.
        traits: of each of them; one that is missing is in the plan's zone, of no bytes.
        under_way: devices that were heard of since they were asked and have not ended.
        starts: who was asked to begin by this rollout; those of the last minutes are enough.
        now: seconds since 1970.
    """
    if now < plan.start_at:
        return Admitted((), f"It begins at {clock(plan.start_at, zone_of(plan, ''))}.", plan.start_at)
    gate = _Gate(plan, under_way, starts, now)
    chosen: list[str] = []
    reasons: Counter[str] = Counter()
    until: list[float] = []
    for device in wanted:
        reason, at = gate.ask(traits.get(device, Trait()))
        if not reason:
            chosen.append(device)
            continue
        reasons[reason] += 1
        until += [at] if at else []
    waits = "; ".join(f"{'1 waits' if n == 1 else f'{n} wait'} {reason}" for reason, n in reasons.items())
    return Admitted(tuple(chosen), f"{waits}." if waits else "", min(until, default=0.0))


def shut(plan: Plan, devices: Sequence[str], traits: Mapping[str, Trait], now: float) -> tuple[str, ...]:
    """Those of `devices`, none of which has begun, whose window is shut, or too soon: what they were asked for is taken
    back.
    """
    if not plan.windows:
        return ()
    asked = {device: traits.get(device, Trait()) for device in devices}
    open_for = {
        one: is_open(plan.windows, zone_of(plan, one.timezone), now, takes_s(plan, one))
        for one in set(asked.values())
    }
    return tuple(device for device in devices if not open_for[asked[device]])


def takes_s(plan: Plan, trait: Trait) -> float:
    """How long an update takes at least, seconds: its probation, and its download where the plan says how many bytes a
    second the links carry. How fast one device's own link is nobody knows beforehand.

    A download counts for half at most of what the longest window has beyond the probation: one that takes longer than any
    window begins early in one, instead of never.
    """
    if not plan.bandwidth_bytes_s or not plan.windows:
        return plan.update_s
    room_s = max(0.0, longest_s(plan.windows) - plan.update_s) / 2
    return plan.update_s + min(trait.size_bytes / plan.bandwidth_bytes_s, room_s)


class _Gate:
    """What is left of each limit at one moment."""

    def __init__(self, plan: Plan, under_way: int, starts: Sequence[Begun], now: float) -> None:
        self._plan, self._now, self._under_way = plan, now, under_way
        self._openings: dict[Trait, tuple[str, float]] = {}
        self._devices = _Bucket(plan.rate_per_min / 60, [(s.at, 1.0) for s in starts], now)
        self._bytes = _Bucket(plan.bandwidth_bytes_s, [(s.at, float(s.size_bytes)) for s in starts], now)

    def ask(self, trait: Trait) -> tuple[str, float]:
        """Why a device has to wait, and until when; empty when it may begin, which is counted."""
        plan = self._plan
        if plan.windows:
            reason, at = self._opening(trait)
            if reason:
                return reason, at
        if plan.concurrency and self._under_way >= plan.concurrency:
            return f"because {plan.concurrency} are under way at once", 0.0
        for bucket, reason in (
            (self._devices, f"because {plan.rate_per_min:g} a minute may begin"),
            (self._bytes, f"because {plan.bandwidth_bytes_s / 1e6:g} MB a second may be asked for"),
        ):
            if bucket.full_until > self._now:
                return reason, bucket.full_until
        self._under_way += 1
        self._devices.add(1.0)
        self._bytes.add(float(trait.size_bytes))
        return "", 0.0

    def _opening(self, trait: Trait) -> tuple[str, float]:
        """Whether a window is open, looked up once for all that are alike: a fleet has many devices and few zones."""
        if trait not in self._openings:
            zone = zone_of(self._plan, trait.timezone)
            plan, now, need_s = self._plan, self._now, takes_s(self._plan, trait)
            what = "probation" if need_s == plan.update_s else "download and probation"
            at = next_open(plan.windows, zone, now, need_s)
            if at == math.inf:  # of a plan from before this was refused
                text, at = "for ever: no window is as long as the probation", 0.0
            elif at > now and is_open(plan.windows, zone, now):
                too_soon = f"this one shuts within the {round(need_s, 1):g} s of {what}"
                text = f"for the next window, at {clock(at, zone)}: {too_soon}"
            else:
                text = f"for the window, which opens at {clock(at, zone)}" if at > now else ""
            self._openings[trait] = text, at
        return self._openings[trait]


class _Bucket:
    """A leaky bucket: what was asked for drips out at `per_s`; with more than a second's worth in it, it is full."""

    def __init__(self, per_s: float, past: Sequence[tuple[float, float]], now: float) -> None:
        self._per_s, self._now, self._level = per_s, now, 0.0
        if not per_s:
            return
        at = -math.inf
        for when, amount in sorted(past):
            when = min(when, now)  # a clock that was set back says nothing of the future
            self._level = max(0.0, self._level - per_s * (when - at)) + amount
            at = when
        self._level = max(0.0, self._level - per_s * (now - at))

    @property
    def full_until(self) -> float:
        """When it takes more, seconds since 1970; a time that has come when it does now."""
        over = self._level - self._per_s * _BURST_S
        return self._now + over / self._per_s if self._per_s and over > 0 else self._now

    def add(self, amount: float) -> None:
        """Something is asked for."""
        self._level += amount


def zone_of(plan: Plan, told: str) -> tzinfo:
    """The zone of a device: as it says, else the plan's, else UTC."""
    return open_zone(told) or open_zone(plan.timezone) or timezone.utc


def clock(at: float, zone: tzinfo) -> str:
    """A moment as a clock on the wall of this zone shows it, for people."""
    return f"{datetime.fromtimestamp(at, zone):%a %Y-%m-%d %H:%M} {zone}"
