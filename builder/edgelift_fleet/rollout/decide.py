"""What a rollout does next: a pure rule over its plan and what was observed. No I/O, no clock of its own.

Waves are cumulative shares of a cohort. The rules, in the order in which they are asked:

1. A rollout that has ended stays as it ended.
2. While devices go back, nothing else happens. It has ended when every device that it changed is back, or was let go
   by name, or has been given something else meanwhile; there is no deadline after which one is forgotten.
3. While it is paused, what was assigned and not begun is taken back; nothing else happens.
4. More failed devices than the plan tolerates: every device that the rollout changed goes back, or with
   `keep_earlier` the current wave and those that failed. Who is offline has not failed: more of them than the plan
   allows pause the rollout, and send nobody back.
5. A wave whose share isn't reached yet takes in more devices: who was held back, late joiners, others in place of those
   that stand outside by now. A wave none of whose devices is there takes in others that are.
6. The next wave begins when every device of this one that was heard of has *committed*, which means that it served
   through its probation, and has done so for the soak time; and a person has approved it where the plan says so. Who is
   offline catches up later.
7. Where a gate compares the wave with devices that aren't reached yet, it looks at its planned times within the soak (with
   none: once, at its end). A wave that is worse than allowed goes back as for rule 4; the next begins after the last look,
   and that one waits for devices to have served enough: see `looking`.
8. After the last wave it waits for those that are offline until their deadline, lets them go by name, and is done.
9. After a time in which nobody could be heard, deadlines count anew, and who is offline counts once it has had time to
   come back.

What is not decided here: which artifact suits a device, or in which order devices come; the cohort is given in
the order of choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgelift_fleet.rollout.decisions import Advance, Decision, Finish, Hold, HoldBack, Pause, RollBack
from edgelift_fleet.rollout.ends import many, named, outcomes, tell
from edgelift_fleet.rollout.looking import next_look_at, watch
from edgelift_fleet.rollout.pace import Admitted, Begun, Trait, admit, shut
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.retry import retry_at
from edgelift_fleet.rollout.situation import (
    BAD,
    HOME,
    TERMINAL,
    UNDER_WAY,
    UNTOUCHED,
    DeviceSeen,
    Observations,
    Scope,
)

#: How long a device may take to come back to a control plane that was away, seconds: agents look for their host and their
#: broker again at least so often (`MAX_RECONNECT_S` of the agent's MQTT, `retry_cap_s` of its configuration).
RETURN_S = 300.0
#: How the reason ends of a rollout whose next wave waits for approval.
AWAITS_APPROVAL = "waits for a person to approve it."


def decide(plan: Plan, seen: Observations, now: float) -> Decision:
    """What to do now; see the rules above. Same arguments, same answer."""
    if seen.state in TERMINAL:
        return Finish(seen.state, f"It is {seen.state}.", outcomes(seen))
    if seen.state == "rolling-back":
        return _while_going_back(seen)
    if seen.state == "paused":
        return _while_paused(seen)
    stopped = _breach(plan, seen, now) or _out_of_window(plan, seen, now)
    return stopped or (_begin(plan, seen, now) if seen.wave < 0 else _current_wave(plan, seen, now))


def _breach(plan: Plan, seen: Observations, now: float) -> Decision | None:
    counted, size = seen.counted(), seen.size()
    failed = [d for d in counted if d.status in BAD and _again_at(plan, d) is None]
    if len(failed) > plan.failures_allowed(size):
        return _stop(plan, seen, _failures(plan, failed, size))
    if seen.gate and seen.gate.breach:
        return _stop(plan, seen, f"The gate of wave {seen.wave + 1} found {seen.gate.text}.")
    allowed, offline = plan.offline_allowed(size), [d.device for d in counted if d.status == "offline"]
    if allowed is not None and len(offline) > allowed and not _just_back(seen, now):
        return Pause(
            f"{many(len(offline))} offline, {allowed} allowed: {named(offline)}. Whoever is let go no longer counts."
        )
    return None


def _out_of_window(plan: Plan, seen: Observations, now: float) -> Decision | None:
    """Whoever hasn't begun when its window shuts waits for the next one without the release: it might come at any time."""
    not_begun = [d.device for d in seen.counted() if d.status in ("waiting", "offline")]
    late = shut(plan, not_begun, seen.traits, now)
    return HoldBack(late, f"The window of {named(late)} shuts before it has begun.") if late else None


def _begin(plan: Plan, seen: Observations, now: float) -> Decision:
    if not seen.free() and now >= plan.start_at:
        left = tell(outcomes(seen))
        return Pause(f"No device is selected any more. {left} Resume it when some are.".replace("  ", " "))
    first = _may_start(plan, seen, seen.free()[: plan.waves[0].reach(seen.size())], now)
    if not first.devices:
        return Hold(first.waits, until=first.until)
    return Advance(
        0,
        first.devices,
        f"Wave 1 of {len(plan.waves)} begins with {many(len(first.devices))}. {first.waits}".rstrip(),
    )


def _current_wave(plan: Plan, seen: Observations, now: float) -> Decision:
    reached = [d for d in seen.counted() if d.status != "held"]
    failed = _due_again(plan, reached, now)
    lacking = _may_start(plan, seen, [*failed, *_lacking(plan, seen, reached)], now)
    if lacking.devices:
        return Hold(f"{_taken_in(seen, lacking.devices, set(failed))} {lacking.waits}".rstrip(), lacking.devices)
    absent = _absent(plan, seen)
    if not reached and absent:
        return Hold(f"Waiting for {named(absent)} to be there within the window.")
    if not reached and not lacking.waits:
        return Pause(f"No device is left in it. {tell(outcomes(seen))}")
    waiting = [d for d in reached if d.status in UNDER_WAY]
    again = {d.device: at for d in reached if (at := _again_at(plan, d)) is not None}
    if waiting or again or lacking.waits:
        texts = (
            [f"Waiting for {named([d.device for d in waiting])} to serve through probation."] if waiting else []
        )
        texts += [f"{named(list(again))} is asked again later."] if again else []
        return Hold(
            " ".join([*texts, *([lacking.waits] if lacking.waits else [])]),
            until=_first(
                _next_deadline(plan, seen, waiting, now), lacking.until, *(at for at in again.values() if at > now)
            ),
        )
    members = [d for d in reached if d.wave == seen.wave]
    if members and not any(d.status == "committed" for d in members):
        stopped = _nobody_committed(plan, seen, members, now)
        if stopped:
            return stopped
    soaked_at = max((d.since for d in reached if d.status != "offline"), default=now) + plan.soak_s
    if watched := watch(plan, seen.gate, seen.wave, soaked_at, now, listening_since=seen.listening_since):
        return watched
    if now < soaked_at:
        return _soaking(plan, seen, soaked_at, now)
    return _next_wave(plan, seen, reached, now)


def _soaking(plan: Plan, seen: Observations, soaked_at: float, now: float) -> Hold:
    text = f"Wave {seen.wave + 1} soaks for {plan.soak_s:g} s."
    if not seen.gate or not seen.gate.tested:
        return Hold(text, until=soaked_at)
    said = f" Compared: {seen.gate.text}." if seen.gate.taken else ""
    return Hold(f"{text}{said}", until=min(next_look_at(plan, soaked_at, now), soaked_at))


def _taken_in(seen: Observations, devices: Sequence[str], due: set[str]) -> str:
    again, new = [d for d in devices if d in due], [d for d in devices if d not in due]
    texts = [f"{named(again)}: asked again, for what failed may pass."] if again else []
    texts += [f"Wave {seen.wave + 1} takes in {many(len(new))} more."] if new else []
    return " ".join(texts)


def _lacking(plan: Plan, seen: Observations, reached: Sequence[DeviceSeen]) -> list[str]:
    """Who the current wave takes in beside those that it has."""
    free, share = _free(plan, seen), plan.waves[seen.wave].reach(seen.size())
    members = [d for d in reached if d.wave == seen.wave]
    if members and all(d.status == "offline" for d in members):
        # Nothing is learnt from who is not there: others that are take the wave's share, and those join it when they come.
        others = [device for device in free if device not in seen.away]
        return others[: max(0, share - (len(reached) - len(members)))]
    return free[: max(0, share - len(reached))]


def _nobody_committed(
    plan: Plan, seen: Observations, members: Sequence[DeviceSeen], now: float
) -> Decision | None:
    """What to do about a wave of which no device committed; None to go on without it."""
    offline = [d for d in members if d.status == "offline"]
    if len(offline) < len(members):
        return Pause(f"Not one device of wave {seen.wave + 1} committed.")
    until = _last_deadline(plan, seen, offline)
    proven = any(d.status == "committed" for d in seen.counted())
    if proven and now >= until:
        return None
    text = f"Every device of wave {seen.wave + 1} is offline: {named([d.device for d in offline])}."
    return Hold(text, until=until if proven else 0.0)


def _next_wave(plan: Plan, seen: Observations, reached: Sequence[DeviceSeen], now: float) -> Decision:
    for number in range(seen.wave + 1, len(plan.waves)):
        wanted = _free(plan, seen)[: max(0, plan.waves[number].reach(seen.size()) - len(reached))]
        if not wanted:
            continue
        if plan.approval and seen.approved < number + 1:
            text = f"Wave {seen.wave + 1} committed; wave {number + 1} {AWAITS_APPROVAL}"
            return Hold(text, approval=number + 1)
        more = _may_start(plan, seen, wanted, now)
        if not more.devices:
            return Hold(f"Wave {seen.wave + 1} committed; of wave {number + 1} {more.waits}", until=more.until)
        text = f"{_judged(seen, number)}; wave {number + 1} of {len(plan.waves)} begins with {many(len(more.devices))}."
        return Advance(number, more.devices, f"{text} {more.waits}".rstrip())
    offline = [d for d in reached if d.status == "offline"]
    until = _last_deadline(plan, seen, offline) if offline else now
    if now < until:
        return Hold(f"Waiting for {named([d.device for d in offline])} to come: offline.", until=until)
    let_go = tuple(d.device for d in offline)
    if offline and plan.windows:  # let go as they are, they would begin whenever they come
        return HoldBack(let_go, f"{named(let_go)}: not there within the window.")
    if absent := _absent(plan, seen):
        until = max((d.since for d in reached if d.status == "committed"), default=now) + plan.deadline_s
        if now < until:
            return Hold(f"Waiting for {named(absent)} to be there within the window.", until=until)
        let_go = tuple(absent)
    found = outcomes(seen, let_go=let_go)
    text = f"{len(found.get('committed', ()))} of {many(len(reached))} committed."
    rest = tell(found, without=("committed",))
    return Finish("done", f"{text} {rest}".rstrip(), found, let_go)


def _judged(seen: Observations, number: int) -> str:
    """What a wave came to, and on whom its last look rests."""
    gate = seen.gate
    compared = f", compared at {gate.text}" if gate and gate.tested and gate.taken else ""
    return f"Wave {number} committed{compared}"


def _absent(plan: Plan, seen: Observations) -> list[str]:
    """Who was off when its window shut, and still is: it is not asked again before it is there."""
    held = [d.device for d in seen.counted() if d.status == "held"] if plan.windows else []
    return [device for device in held if device in seen.away]


def _free(plan: Plan, seen: Observations) -> list[str]:
    absent = set(_absent(plan, seen))
    return [device for device in seen.free() if device not in absent]


def _may_start(plan: Plan, seen: Observations, wanted: Sequence[str], now: float) -> Admitted:
    """Those of the devices that a wave wants which may start now, and why the others wait."""
    if not plan.is_paced():
        return Admitted(tuple(wanted))
    under_way = sum(d.status in UNDER_WAY and not d.going_back for d in seen.devices)
    starts = [Begun(d.assigned_at, seen.traits.get(d.device, Trait()).size_bytes) for d in seen.devices]
    return admit(plan, wanted, seen.traits, under_way=under_way, starts=starts, now=now)


def _again_at(plan: Plan, device: DeviceSeen) -> float | None:
    """When a failed device is to be asked again; None for never, and for one that has not failed."""
    if device.status != "failed" or not plan.retries:
        return None  # who fell silent in the middle of an update may have been silenced by it
    return retry_at(plan, device.code, device.tried, device.since)


def _due_again(plan: Plan, reached: Sequence[DeviceSeen], now: float) -> list[str]:
    return [d.device for d in reached if (at := _again_at(plan, d)) is not None and now >= at]


def _failures(plan: Plan, failed: Sequence[DeviceSeen], size: int) -> str:
    reasons = "; ".join(f"{d.device}: {d.reason or d.status}" for d in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"{many(len(failed))} failed, {plan.failures_allowed(size)} allowed: {reasons}{more}."


def _stop(plan: Plan, seen: Observations, reason: str) -> Decision:
    """The release is bad: go back, or pause where the plan says so."""
    if plan.on_breach == "pause":
        return Pause(reason)
    scope: Scope = "wave" if plan.keep_earlier else "all"
    return RollBack(_to_take_back(seen, scope), reason, scope)


def _to_take_back(seen: Observations, scope: Scope) -> tuple[str, ...]:
    """Who still has to be given back what it had: also who is no longer selected, or was let go."""
    changed = [d for d in seen.devices if not d.going_back and d.status not in UNTOUCHED]
    return tuple(d.device for d in changed if scope != "wave" or d.wave == seen.wave or d.status in BAD)


def _while_going_back(seen: Observations) -> Decision:
    more = _to_take_back(seen, seen.back)
    if more:
        return RollBack(more, f"{many(len(more))} more to take back.", seen.back)
    going = [d for d in seen.devices if d.going_back and d.status not in HOME]
    if going:
        offline = [d.device for d in going if d.status == "offline"]
        text = f"{seen.cause} Waiting for {named([d.device for d in going])} to go back."
        return Hold(f"{text} {len(offline)} offline: {named(offline)}.".lstrip() if offline else text.lstrip())
    kept = any(not d.going_back and d.status not in UNTOUCHED for d in seen.devices)
    found = outcomes(seen)
    text = f"{seen.cause} {tell(found) or 'It had changed no device.'}".lstrip()
    return Finish("wave-rolled-back" if kept else "rolled-back", text, found)


def _while_paused(seen: Observations) -> Decision:
    not_begun = tuple(d.device for d in seen.counted() if d.status in ("waiting", "offline"))
    if not_begun:
        return HoldBack(not_begun, f"It is paused: {many(len(not_begun))} that had not begun held back.")
    return Hold("It is paused.")


def _next_deadline(plan: Plan, seen: Observations, devices: Sequence[DeviceSeen], now: float) -> float:
    """The first deadline of these that is still to come; 0 for none."""
    return min((at for d in devices if (at := _deadline(plan, seen, d)) > now), default=0.0)


def _last_deadline(plan: Plan, seen: Observations, devices: Sequence[DeviceSeen]) -> float:
    return max(_deadline(plan, seen, d) for d in devices)


def _just_back(seen: Observations, now: float) -> bool:
    """Has the control plane listened again for so short a time that devices are still coming back to it?"""
    return seen.listening_since > 0 and now < seen.listening_since + RETURN_S


def _deadline(plan: Plan, seen: Observations, device: DeviceSeen) -> float:
    return max(device.assigned_at, seen.listening_since) + plan.deadline_s


def _first(*times: float) -> float:
    """The first of times that are there; 0 for none."""
    return min((at for at in times if at), default=0.0)
