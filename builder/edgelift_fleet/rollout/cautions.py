"""What an operator should know before a rollout starts, and what does not stop it: boards that nobody asks, waves that
can't be compared. Pure: what the boards served lately goes in, sentences come out.

A forecast, like the waves: what boards will serve is what they served lately.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from edgelift_contract.assignment import Policy
from edgelift_fleet.cohorts import Member
from edgelift_fleet.rollout.ends import many, named
from edgelift_fleet.rollout.gates.draws import ways
from edgelift_fleet.rollout.gates.gathered import Gathered, WaveBoard, gather
from edgelift_fleet.rollout.gates.shares import shares
from edgelift_fleet.rollout.pace import clock, zone_of
from edgelift_fleet.rollout.plan import Plan

#: A start that is past by less is meant as *now*, seconds.
_LATE_S = 60.0


@dataclass(frozen=True)
class Lately:
    """What boards did before a rollout.

    Attributes:
        span_s: over how long, seconds.
        served: device → requests in that time; of those that served none nothing.
        filled: devices whose slot is not empty.
    """

    span_s: float
    served: Mapping[str, int]
    filled: Collection[str]

    def per_s(self, device: str) -> float:
        """Requests a second."""
        return self.served.get(device, 0) / self.span_s


NOTHING_YET = Lately(3600.0, {}, frozenset())


def cautions(
    plan: Plan, policy: Policy, waves: Sequence[Sequence[str]], members: Sequence[Member], changed: Collection[str],
    lately: Lately,
) -> list[str]:  # fmt: skip
    """What to know, a sentence or two each; empty where there is nothing.

    Args:
        plan: of the rollout.
        policy: how each device updates.
        waves: the ids of each wave's devices, as they would be drawn.
        members: all devices that would get something.
        changed: those of them that don't run it already.
        lately: what they did before.
    """
    told = [*_approvals(plan, waves), *_without_traffic(plan, policy, changed, lately)]
    told += _gates(plan, policy, waves, members, lately)
    if plan.windows:
        told.append(
            f"Windows bound when a device begins, at least {span(plan.update_s)} (its probation) before one shuts. "
            f"{_download(plan)}"
        )
    return told


def begins_late(plan: Plan, now: float) -> list[str]:
    """What to know of a start that was to be before `now`, seconds since 1970: a slip in a date begins at once."""
    if not 0 < plan.start_at < now - _LATE_S:
        return []
    return [f"It was to begin at {clock(plan.start_at, zone_of(plan, ''))}, which is past: it begins at once."]


def speak_as_one(doubled: Sequence[str]) -> list[str]:
    """What to know of ids under which several devices speak, as after a card was cloned."""
    if not doubled:
        return []
    text = f"Several devices speak as {named(doubled)}: each gets the release, and the rollout counts them as one."
    return [f"{text} Give each an id of its own; see: edgelift devices --duplicate."]


def go_back_alone(devices: Sequence[str], release: str) -> list[str]:
    """What to know of devices that ran a newer release, where the builders did not let them go back to this one."""
    if not devices:
        return []
    text = (
        f"{named(devices)} ran a newer release, and will refuse this one unless it is what they ran just before."
    )
    return [f"{text} The builders can allow it: edgelift release allow-older {release}."]


def _download(plan: Plan) -> str:
    past = "an update that has begun goes on past the end of the window."
    if not plan.bandwidth_bytes_s:
        return f"How long its download takes nobody knows: {past}"
    carried = f"{plan.bandwidth_bytes_s / 1e6:g} MB a second"
    return (
        f"Its download is reckoned on top at the plan's bandwidth, {carried}; where its own link is slower, {past}"
    )


def _approvals(plan: Plan, waves: Sequence[Sequence[str]]) -> Iterator[str]:
    """Who is not there to approve a wave holds a rollout up, however long: no reckoned time has that in it."""
    asked = [str(number) for number, wave in enumerate(waves, 1) if wave and number > 1] if plan.approval else []
    if asked:
        each = f"Wave {asked[0]} begins" if len(asked) == 1 else f"Each of the waves {', '.join(asked)} begins"
        yield f"{each} only when a person approves it (edgelift rollout approve), which no time told here has in it."


def _without_traffic(plan: Plan, policy: Policy, changed: Collection[str], lately: Lately) -> Iterator[str]:
    least = policy.probation_min_requests
    if not least:
        return
    end = (
        f"Whoever serves fewer than {least} requests by its deadline ({span(plan.deadline_s)}) is silent, which is a "
        f"failure. Where boards may go without: --min-requests 0."
    )
    idle = sorted(d for d in changed if d in lately.filled and lately.per_s(d) * plan.deadline_s < least)
    if idle:
        yield f"{many(len(idle))} served too little in the {span(lately.span_s)} before: {named(idle)}. {end}"
    new = sorted(d for d in changed if d not in lately.filled)
    if new:
        has = "has" if len(new) == 1 else "have"
        yield f"{many(len(new))} {has} nothing in this slot yet: {named(new)}. {end}"


def _gates(
    plan: Plan, policy: Policy, waves: Sequence[Sequence[str]], members: Sequence[Member], lately: Lately
) -> Iterator[str]:
    if not plan.gates:
        yield "No wave is compared with others: the plan names no gates. Each device's own guard decides alone."
        return
    by_id = {member.device: member for member in members}
    sides = list(_sides(waves, by_id))
    able = shares(plan.gate_alpha, [ways(_counts(mine, others)) for mine, others in sides])
    guarded = [n for n, ((mine, _), alpha) in enumerate(zip(sides, able, strict=True), 1) if mine and not alpha]
    if guarded:
        yield (
            f"{_waves(guarded)} not compared with others: too few devices, or no control is left. Each device's own guard "
            f"decides alone there."
        )
    for number, ((mine, others), alpha) in enumerate(zip(sides, able, strict=True), 1):
        if mine and alpha:
            yield from _of_wave(plan, policy, number, mine, others, alpha, lately)


def _of_wave(
    plan: Plan, policy: Policy, number: int, mine: Sequence[Member], others: Sequence[Member], alpha: float,
    lately: Lately,
) -> Iterator[str]:  # fmt: skip
    far = _forecast(plan, policy, mine, others, alpha, lately)
    if not far.comparable:
        yield f"Wave {number} can't be compared: {far.text}. Each device's own guard decides alone there."
        return
    then = "the rollout pauses" if plan.gate_unmeasured == "pause" else "it goes on unmeasured"
    if not far.enough:
        yield (
            f"Wave {number} would not be measured: by what they did in the {span(lately.span_s)} before, {far.text}. "
            f"It waits {span(plan.gate_wait_s)} for requests, then {then}."
        )
        return
    served = [lately.served.get(m.device, 0) for m in mine if m.device in lately.filled]
    if not policy.probation_min_requests:
        served = [n for n in served if n >= plan.gate_min_requests] or served
    rate = median_low(served) / lately.span_s
    needs_s = max(plan.gate_min_requests, 1) / rate if rate else 0.0
    if set(plan.gates) > {"silence"} and needs_s > plan.soak_s + plan.gate_wait_s:
        yield (
            f"Wave {number} needs about {span(needs_s)} for {plan.gate_min_requests} requests on each of its devices, and "
            f"soaks and waits for {span(plan.soak_s + plan.gate_wait_s)} at most; then {then}."
        )


def _forecast(
    plan: Plan, policy: Policy, mine: Sequence[Member], others: Sequence[Member], alpha: float, lately: Lately
) -> Gathered:
    """How far it would come if all went on serving as they did."""
    least = max(plan.gate_min_requests, 1) if set(plan.gates) - {"silence"} else 0
    boards = Counter[WaveBoard]()
    for member, is_member in [*((m, True) for m in mine), *((m, False) for m in others)]:
        busy = lately.served.get(member.device, 0) >= least
        first = member.device not in lately.filled
        boards[WaveBoard(member.hardware_class, is_member, first, busy, busy, there=True)] += 1
    return gather(boards, alpha, plan.gate_min_requests, idle_allowed=not policy.probation_min_requests)


def _sides(
    waves: Sequence[Sequence[str]], by_id: Mapping[str, Member]
) -> Iterator[tuple[list[Member], list[Member]]]:
    """The members of each wave, and the controls that it would have: who is there, and comes later."""
    reached: set[str] = set()
    for wave in waves:
        reached.update(wave)
        controls = [member for device, member in by_id.items() if device not in reached and member.online]
        yield [by_id[device] for device in wave if device in by_id], controls


def _counts(mine: Sequence[Member], others: Sequence[Member]) -> list[tuple[int, int]]:
    a, b = (Counter(member.hardware_class for member in side) for side in (mine, others))
    return [(a[name], b[name]) for name in sorted({*a, *b})]


def _waves(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"Wave {numbers[0]} is"
    return f"Waves {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} are"


def span(time_s: float) -> str:
    """A length of time for people: `90 s`, `5 min`, `2 h`."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if time_s >= length_s:
            value = time_s / length_s
            return f"{value:.0f} {unit}" if abs(value - round(value)) < 0.05 else f"{value:.1f} {unit}"
    return f"{time_s:.0f} s"
