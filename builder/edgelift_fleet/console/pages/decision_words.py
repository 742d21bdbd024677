"""What a rollout does next, in words: what begins when, on which conditions, how far each is, and what follows else. Pure.

The words rest on `rollout.foresight`, which asks the controller's own rule: what is promised here is what it decides if the
conditions hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from edgelift_fleet.console.pages.gate_words import condition_of, worst_of
from edgelift_fleet.console.words import many, span
from edgelift_fleet.messages import LookContrast
from edgelift_fleet.rollout.decisions import Advance, Finish, Hold, Pause
from edgelift_fleet.rollout.foresight import Foresight, foresee, overruled
from edgelift_fleet.rollout.looking import clock, next_look_at, planned_looks
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import BAD, HOME, OUTSIDE, UNTOUCHED, DeviceSeen, Observations


@dataclass(frozen=True)
class Prospect:
    """How a rollout stands.

    Attributes:
        plan: how it is to go.
        seen: its devices, as `foresight.assemble` gives them.
        reason: what the controller said last.
        contrasts: of the newest look at the current wave, worst first.
        now: seconds since 1970.
    """

    plan: Plan
    seen: Observations
    reason: str
    contrasts: Sequence[LookContrast]
    now: float


class Condition(msgspec.Struct, frozen=True):
    """What must be so before a decision: `holds` is `yes` or `open`; `so_far` how far it is, empty for nothing to say."""

    text: str
    holds: str
    so_far: str = ""


class NextStep(msgspec.Struct, frozen=True):
    """The next decision: what, on which conditions (all of them), and what follows if one of them is broken.

    `waits` is what the controller said of it last; empty where the headline says it all.
    """

    headline: str
    conditions: list[Condition] = []
    otherwise: str = ""
    waits: str = ""


def next_step(one: Prospect) -> NextStep:
    """The next decision of a rollout that has not ended."""
    if one.seen.state == "rolling-back":
        return _going_back(one)
    if one.seen.state == "paused":
        return _paused(one)
    if stops := stopped_by(one):
        return NextStep(f"It {_stops_how(one)} at once: {stops}.", waits=one.reason)
    return _going_on(one)


def stopped_by(one: Prospect) -> str:
    """Why it does not go on as it stands; empty when it does."""
    seen, plan = one.seen, one.plan
    found = foresee(plan, seen, one.now).decision
    if isinstance(found, Advance | Hold | Finish):
        return ""
    size, counted = seen.size(), seen.counted()
    failed, offline = _failed(seen), sum(d.status == "offline" for d in counted)
    allowed = plan.offline_allowed(size)
    if seen.gate and seen.gate.breach:
        return f"the gate of wave {seen.wave + 1} found {seen.gate.text}"
    if failed > plan.failures_allowed(size):
        return f"{failed} of {many(size, 'device')} failed, {plan.failures_allowed(size)} allowed"
    if allowed is not None and offline > allowed:
        return f"{offline} of {many(size, 'device')} are offline, {allowed} allowed"
    if seen.gate and seen.gate.tested and seen.gate.unmeasured:
        return f"wave {seen.wave + 1} was not measured"
    if not [d for d in counted if d.status != "held"]:
        return "no device is left in it"
    return f"not one device of wave {seen.wave + 1} committed"


def _going_on(one: Prospect) -> NextStep:
    then = foresee(one.plan, one.seen, one.now)
    # What it said last is of the moment before: from there on the headline says more.
    waits = one.reason if one.seen.wave >= 0 or not one.plan.start_at > one.now else ""
    headline = _headline(one, then)
    found = _conditions(one, then)
    if not found:
        return NextStep(f"{headline}.", waits=waits)
    return NextStep(f"{headline}, if", found, _otherwise(one.plan), waits)


def _headline(one: Prospect, then: Foresight) -> str:
    plan, at = one.plan, _when(one, then)
    match then.decision:
        case Advance(wave, devices, _):
            return f"Wave {wave + 1} of {len(plan.waves)} starts with {many(len(devices), 'device')} {at}"
        case Hold(approval=wave) if wave:
            more = _after_approval(one)
            return f"Wave {wave} of {len(plan.waves)} starts{more} {at}"
        case Finish(let_go=let_go) if let_go:
            number = many(len(let_go), "offline device")
            are = "is" if len(let_go) == 1 else "are"
            return f"The rollout is done {at}, when {number} {are} let go"
        case Finish():
            return f"The rollout is done {at}"
        case _:
            return "It waits for devices to be there"


def _after_approval(one: Prospect) -> str:
    freed = foresee(replace(one.plan, approval=False), one.seen, one.now).decision
    return f" with {many(len(freed.devices), 'device')}" if isinstance(freed, Advance) else ""


def _when(one: Prospect, then: Foresight) -> str:
    late = _may_be_late(one.plan)
    if then.at <= one.now + 1 and not then.under_way:
        return "as soon as it may" if late else "at once"
    earliest = " at the earliest" if late or then.under_way else ""
    return f"at {clock(then.at, one.now)}{earliest}{_in(then.at - one.now)}"


def _in(seconds: float) -> str:
    return f" (in {span(seconds)})" if seconds >= 1 else ""


def _may_be_late(plan: Plan) -> bool:
    return bool(plan.windows or plan.concurrency or plan.rate_per_min or plan.bandwidth_bytes_s)


def _conditions(one: Prospect, then: Foresight) -> list[Condition]:
    made = []
    if one.seen.wave >= 0:
        made += [*_of_devices(one, then), *_of_soak(one, then), *_of_gates(one, then)]
    if isinstance(then.decision, Hold) and then.decision.approval:
        made.append(Condition(f"a person approves wave {then.decision.approval}", "open"))
    if isinstance(then.decision, Advance | Hold):
        made += _of_pace(one.plan)
    return made


def _of_devices(one: Prospect, then: Foresight) -> list[Condition]:
    seen, made, size = one.seen, [], one.seen.size()
    mine = [d for d in seen.counted() if d.wave == seen.wave and d.status not in ("held", "offline")]
    if then.under_way:
        done = sum(d.status == "committed" for d in mine)
        text = f"all of wave {seen.wave + 1} that are there serve through their probation"
        made.append(Condition(text, "open", f"{done} of {len(mine)} have"))
    allowed, failed = one.plan.failures_allowed(size), _failed(seen)
    text = (
        f"at most {allowed} of {many(size, 'device')} fail{'s' if allowed == 1 else ''}"
        if allowed
        else f"none of {many(size, 'device')} fails"
    )
    made.append(Condition(text, "yes", f"{failed} so far"))
    offline_allowed = one.plan.offline_allowed(size)
    if offline_allowed is not None:
        offline = sum(d.status == "offline" for d in seen.counted())
        made.append(Condition(f"at most {offline_allowed} are offline", "yes", f"{offline} now"))
    return made


def _of_soak(one: Prospect, then: Foresight) -> list[Condition]:
    soak_s = one.plan.soak_s
    if not soak_s:
        return []
    text = f"it then serves for {span(soak_s)}" if then.under_way else f"it has served for {span(soak_s)}"
    if then.under_way:
        return [Condition(text, "open")]
    served_s = min(max(0.0, one.now - then.soaked_at + soak_s), soak_s)
    return [Condition(text, "yes" if served_s >= soak_s else "open", f"{span(served_s)} so far")]


def _of_gates(one: Prospect, then: Foresight) -> list[Condition]:
    gate, plan = one.seen.gate, one.plan
    if gate is None or not gate.tested:
        return []
    planned, passed = planned_looks(plan), gate.taken >= planned_looks(plan)
    if not gate.taken:
        first = (
            next_look_at(plan, then.soaked_at, min(one.now, then.soaked_at - 1e-3))
            if plan.soak_s
            else then.soaked_at
        )
        waits = "looked at once all have committed" if then.under_way else f"first look at {clock(first, one.now)}"
        return [
            Condition(condition_of(name, plan, one.seen.wave + 1), "open", waits if n == 0 else "")
            for n, name in enumerate(plan.gates)
        ] + [_served(one, then)]
    told = f"look {gate.taken} of {planned}"
    made = [
        Condition(
            condition_of(name, plan, one.seen.wave + 1),
            "yes" if passed else "open",
            f"{worst_of(name, one.contrasts)} by {told}" if worst_of(name, one.contrasts) else told,
        )
        for name in plan.gates
    ]
    return made if passed else [*made, _served(one, then)]


def _served(one: Prospect, then: Foresight) -> Condition:
    """The last look waits for requests, and a person decides where they don't come."""
    until = clock(then.soaked_at + one.plan.gate_wait_s, one.now)
    what = "pauses" if one.plan.gate_unmeasured == "pause" else "goes on unmeasured"
    since = "" if then.under_way else f" by {until}"
    text = f"enough of its boards have served {one.plan.gate_min_requests:,} requests each{since}, or it {what}"
    return Condition(text, "open")


def _of_pace(plan: Plan) -> list[Condition]:
    made = []
    if plan.windows:
        made.append(Condition("the maintenance window of a device is open, by its own clock", "open"))
    if plan.concurrency:
        made.append(Condition(f"no more than {plan.concurrency:,} are under way at once", "open"))
    if plan.rate_per_min:
        made.append(Condition(f"no more than {plan.rate_per_min:g} begin in a minute", "open"))
    if plan.bandwidth_bytes_s:
        made.append(Condition(f"no more than {plan.bandwidth_bytes_s / 1e6:g} MB a second are asked for", "open"))
    return made


def _stops_how(one: Prospect) -> str:
    return "pauses" if isinstance(foresee(one.plan, one.seen, one.now).decision, Pause) else "rolls back"


def _otherwise(plan: Plan) -> str:
    if plan.on_breach == "pause":
        return "Else it pauses, and a person decides."
    if plan.keep_earlier:
        return "Else this wave goes back to what it had, with all that failed; earlier waves keep the release."
    return "Else every device that it changed goes back to what it had."


def _paused(one: Prospect) -> NextStep:
    gate = one.seen.gate
    resumed = replace(one, seen=replace(one.seen, state="running", gate=overruled(gate)), reason="")
    if stops := stopped_by(resumed):
        return NextStep("Nothing begins until somebody resumes it; as it stands it would stop again at once, for "
                        f"{stops}.", waits=one.reason)  # fmt: skip
    after = _going_on(resumed)
    text = f"Nothing begins until somebody resumes it. {after.headline.replace('The rollout is', 'Then it is')}"
    unlike = overruled(gate) != gate
    more = f" Wave {one.seen.wave + 1} is compared no more then." if unlike else ""
    return NextStep(text, after.conditions, f"{after.otherwise}{more}".strip(), one.reason)


def _going_back(one: Prospect) -> NextStep:
    seen = one.seen
    to_come = [d for d in seen.devices if _goes_back(seen, d) and not (d.going_back and d.status in HOME)]
    if not to_come:
        return NextStep("Every device that goes back is back: it ends now.", waits=one.reason)
    back = sum(d.going_back and d.status in HOME for d in seen.devices)
    offline = sum(d.status == "offline" for d in to_come)
    have = "has" if len(to_come) == 1 else "have"
    text = f"It ends once {many(len(to_come), 'more device')} {have} again the version from before; {back:,} back so far."
    absent = f"{offline:,} of them offline: awaited until they come, or are let go by name."
    return NextStep(text, otherwise=absent if offline else "", waits=one.reason)


def _goes_back(seen: Observations, device: DeviceSeen) -> bool:
    if device.going_back:
        return True
    return device.status not in UNTOUCHED and (
        seen.back != "wave" or device.wave == seen.wave or device.status in BAD
    )


def _failed(seen: Observations) -> int:
    return sum(d.status in BAD and d.status not in OUTSIDE for d in seen.devices)
