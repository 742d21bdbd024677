"""A wave's gate, kept in the database: whom it is held against, each look that was taken, and what it came to.

Controls are fixed when a wave begins: devices of the cohort that were there then and that it does not take. Those that
the rollout reaches later, as when a wave takes in its rest, stop being controls. Looks are kept with what was measured,
so that a server that starts again neither looks twice nor forgets. How a look is judged is `gates`' business, when it
is due `decide`'s.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_fleet.assignments import set_slots
from edgelift_fleet.db import among
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import LookContrast, LookFigures
from edgelift_fleet.rollout.decisions import Compare
from edgelift_fleet.rollout.draw import lot
from edgelift_fleet.rollout.ends import named
from edgelift_fleet.rollout.gates import words
from edgelift_fleet.rollout.gates.draws import ways
from edgelift_fleet.rollout.gates.gathered import Gathered
from edgelift_fleet.rollout.gates.shares import shares
from edgelift_fleet.rollout.gates.wave import Drawn, Rules, WaveVerdict, judge_wave
from edgelift_fleet.rollout.gates.words import Contrast, amount_of
from edgelift_fleet.rollout.gathering import gathered
from edgelift_fleet.rollout.looking import planned_looks
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.readings import measured
from edgelift_fleet.rollout.situation import OUTSIDE, Observations, ServedSoFar
from edgelift_fleet.rollout.story import note
from edgelift_fleet.rows import decode_row, read_row
from edgelift_fleet.tables import (
    AssignmentRow,
    DeviceRow,
    RolloutDeviceRow,
    RolloutLookRow,
    RolloutRow,
    RolloutWaveRow,
)
from edgelift_fleet.telemetry.doubts import doubted_since

#: As many controls swap as placebos, or four times as many as the wave has members.
_PLACEBOS = 60

#: A look's comparisons that are kept for people, worst first; a fleet of twenty classes has eighty.
_CONTRASTS = 24

_Measured = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Look:
    """A look that was taken: its number, what it measured of each device, and what it came to."""

    number: int
    measured: _Measured
    breach: bool
    text: str
    unmeasured: bool
    figures: LookFigures


def begin(
    session: Session, row: RolloutRow, plan: Plan, seen: Observations, wave: int, devices: Sequence[str]
) -> list[str]:
    """Fix whom a wave that begins now is held against, and its share of false alarms. Inside a write transaction.

    Returns:
        The controls that were asked for a placebo swap: their assignment changed.
    """
    if not plan.gates:
        return []
    taken = {*devices, *(d.device for d in seen.devices), *seen.away}
    classes = _classes(session, [device for device in seen.cohort if device not in seen.away])
    controls = {device: name for device, name in classes.items() if device not in taken}
    spent = sa.select(sa.func.coalesce(sa.func.sum(RolloutWaveRow.alpha), 0.0)).filter_by(rollout=row.number)
    left = max(0.0, plan.gate_alpha - (session.scalar(spent) or 0.0))
    alpha = shares(left, _ways(plan, seen, wave, classes))[0] if left else 0.0
    swapping: list[str] = []
    if alpha and plan.placebo:
        controls, swapping = _ask_placebos(session, row, wave, controls, devices)
    made = {"began_at": time.time(), "alpha": alpha, "controls": codec.canonical_json(controls).decode()}
    session.add(RolloutWaveRow(rollout=row.number, wave=wave, overruled=False, **made))
    if not alpha:
        mine = [classes[device] for device in devices if device in classes]
        text = words.no_rate(len(mine), len(controls), ways(_counts(mine, controls.values())), plan.gate_alpha)
        note(session, row, "gate", f"Wave {wave + 1}: {text}")
    return swapping


def _ask_placebos(
    session: Session, row: RolloutRow, wave: int, controls: dict[str, str], devices: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Have controls swap to what they serve: some by lot, for each costs its board a swap. The others are none then.

    Returns:
        The controls that are left, and those whose assignment changed.
    """
    name = f"{rollout_id(row.number)}.{wave + 1}"
    drawn = sorted(controls, key=lambda device: lot(row.number, wave, device))[: max(_PLACEBOS, 4 * len(devices))]
    wishes: dict[str, SlotAssignment | None] = {}
    for device, body in session.execute(
        sa.select(AssignmentRow.device, AssignmentRow.body).where(among(session, AssignmentRow.device, drawn))
    ):
        assignment = read_row(body, Assignment, owner=device, what="assignment", into=[])
        serves = assignment.slots.get(row.slot) if assignment else None
        if serves is not None:
            wishes[device] = msgspec.structs.replace(serves, placebo=name)
    done = {device: one for device, one in set_slots(session, row.slot, wishes).items() if isinstance(one, int)}
    note(
        session,
        row,
        "gate",
        f"Wave {wave + 1}: {words.count(len(done), 'control')} swap to what they serve, as placebos.",
    )
    return {device: controls[device] for device in sorted(done)}, sorted(done)


def _ways(plan: Plan, seen: Observations, wave: int, classes: Mapping[str, str]) -> list[int]:
    """In how many ways this wave and each later one can be drawn, if classes keep their shares of each."""
    size, reached = seen.size(), len([d for d in seen.counted() if d.status != "held"])
    to_come = set(seen.free())  # once: of thousands it takes a while
    free = Counter(name for device, name in classes.items() if device in to_come)
    found, left = [], sum(free.values())
    for one in plan.waves[wave:]:
        members = min(left, max(0, one.reach(size) - reached))
        reached, after = reached + members, left - members
        counts = [(round(n * members / max(left, 1)), n) for n in free.values()]
        found.append(ways([(n, max(0, every - n)) for n, every in counts]))
        free = Counter({name: round(n * after / max(left, 1)) for name, n in free.items()})
        left = after
    return found


def count_served(
    session: Session, row: RolloutRow, plan: Plan, since: float, found: Observations, seen: LastSeen, now: float
) -> ServedSoFar:
    """How far the current wave is with the requests that its last look waits for; `since` as of `Count`."""
    far = _gathered(session, row, plan, _stretches(session, row, plan, since, now), found, seen, now)
    return ServedSoFar(far.ready, far.text)


def take_look(
    session: Session, row: RolloutRow, plan: Plan, asked: Compare, found: Observations, seen: LastSeen, now: float
) -> Look:
    """Measure and judge; nothing is written. For a read transaction: it takes a while with many devices."""
    over = _stretches(session, row, plan, asked.since, now)
    numbers = measured(
        session, row.slot, over.drawn.members, over.drawn.controls, before=over.before, since=over.since,
        min_requests=plan.gate_min_requests, seen=seen, now=now,
    )  # fmt: skip
    looks = {number: one for number, one in _earlier(session, row).items() if number < asked.look}
    planned = planned_looks(plan)
    rules = Rules(plan.gates, plan.gate_slower, plan.gate_more_errors, looks=planned, alpha=over.alpha)
    verdict = judge_wave(over.drawn, {**looks, asked.look: numbers}, rules)
    far = _gathered(session, row, plan, over, found, seen, now)
    last = asked.look == planned
    shown = far.enough and rules.shows_what_was_served(verdict.contrasts)
    unmeasured = last and far.comparable and not verdict.breach and not shown
    text = f"{verdict.text}{_on_whom(far, last=last)}"
    if unmeasured and plan.gate_unmeasured == "advance":
        text += "; it goes on unmeasured, as the plan says"
    elif last and not far.comparable:
        text += ". Each board's own guard decides alone"
    if over.left_out:
        text += f"; left out, for what they measured can't be: {named(over.left_out)}"
    if over.reassigned:
        text += f"; no controls any more, for something else was assigned to them: {named(over.reassigned)}"
    return Look(asked.look, numbers, verdict.breach, text, unmeasured, _figures(verdict, far, planned))


def _on_whom(far: Gathered, *, last: bool) -> str:
    """What a look says of those that it could not compare; with what it waited for where it comes before the end."""
    if far.comparable and far.enough and (last or far.ready):
        return f"; {far.judged_on}" if far.judged_on else ""
    return f"; {far.text}"


@dataclass(frozen=True)
class _Stretches:
    """Whom and when a look compares: the draw, its α, the policy, the two stretches (seconds since 1970), and who is left
    out of it because of what it says it measured, or because it is no control any more.
    """

    drawn: Drawn
    alpha: float
    policy: Policy
    before: tuple[float, float]
    since: tuple[float, float]
    left_out: tuple[str, ...]
    reassigned: tuple[str, ...]


def _stretches(session: Session, row: RolloutRow, plan: Plan, since: float, now: float) -> _Stretches:
    kept = session.get_one(RolloutWaveRow, (row.number, row.wave))
    policy = decode_row(row.policy, Policy, owner=rollout_id(row.number), what="policy")
    # All have swapped by the time that the last of them had a probation behind it.
    start, began = max(kept.began_at, since - policy.probation_s), kept.began_at
    before = (began - plan.gate_before_s, began)
    drawn, doubted = _drawn(session, row, kept, plan), doubted_since(session, before[0])
    left_out = tuple(sorted(doubted & {*drawn.members, *drawn.controls}))
    reassigned = _reassigned(session, row, kept, drawn.controls)
    compared = drawn.without(doubted | reassigned)
    return _Stretches(compared, kept.alpha, policy, before, (start, now), left_out, tuple(sorted(reassigned)))


def _reassigned(session: Session, row: RolloutRow, kept: RolloutWaveRow, controls: Collection[str]) -> set[str]:
    """Controls whose slot was assigned something else since the wave began: what they serve is no measure of it any more.

    An assignment is of all slots: what was asked for by its own number is what changed.
    """
    query = sa.select(AssignmentRow.device, AssignmentRow.body).where(AssignmentRow.issued_at > kept.began_at)
    found = set()
    for device, body in session.execute(query):
        if device not in controls:
            continue
        assignment = read_row(body, Assignment, owner=device, what="assignment", into=[])
        slot = assignment.slots.get(row.slot) if assignment else None
        if assignment is None or slot is None or slot.asked == assignment.revision:
            found.add(device)
    return found


def _gathered(
    session: Session,
    row: RolloutRow,
    plan: Plan,
    over: _Stretches,
    found: Observations,
    seen: LastSeen,
    now: float,
) -> Gathered:
    committed = {d.device for d in found.devices if d.wave == found.wave and d.status == "committed"}
    return gathered(
        session, row, plan, over.policy, over.drawn, over.alpha, committed=committed, before=over.before,
        since=over.since, seen=seen, now=now,
    )  # fmt: skip


def _figures(verdict: WaveVerdict, far: Gathered, planned: int) -> LookFigures:
    return LookFigures(
        of=planned, boards=far.boards, served=far.served, controls=far.controls, controls_served=far.controls_served,
        p=verdict.p, threshold=verdict.threshold,
        contrasts=[_in_shares(contrast) for contrast in verdict.contrasts[:_CONTRASTS]],
    )  # fmt: skip


def _in_shares(one: Contrast) -> LookContrast:
    moved, allowed, *ends = (
        round(amount_of(one.series, value), 6) for value in (one.shift, one.allowed, *(one.interval or ()))
    )
    low, high = ends or (None, None)
    return LookContrast(
        one.series, one.hardware_class, moved, allowed, one.members, one.controls, round(one.p, 8), low, high
    )


def keep(session: Session, row: RolloutRow, look: Look) -> None:
    """Store a look and tell of it. Inside a write transaction."""
    session.add(
        RolloutLookRow(
            rollout=row.number, wave=row.wave, number=look.number, at=time.time(), breach=look.breach, text=look.text,
            measured=codec.canonical_json(look.measured).decode(), unmeasured=look.unmeasured,
            figures=codec.canonical_json(look.figures).decode(),
        )
    )  # fmt: skip
    note(session, row, "gate", f"Wave {row.wave + 1}, {look.text}.")


def overrule(session: Session, row: RolloutRow) -> None:
    """A person goes on with a wave that its gate stopped: it is not compared any more. Inside a write transaction."""
    looks = sa.select(RolloutLookRow.breach, RolloutLookRow.unmeasured)
    newest = session.execute(
        looks.filter_by(rollout=row.number, wave=row.wave).order_by(RolloutLookRow.number.desc()).limit(1)
    ).first()
    kept = session.get(RolloutWaveRow, (row.number, row.wave))
    if kept is None or kept.overruled or newest is None or not (newest.breach or newest.unmeasured):
        return
    kept.overruled = True
    how = "in spite of its gate, and is compared no more" if newest.breach else "unmeasured"
    note(session, row, "gate", f"Wave {row.wave + 1} goes on {how}.")


def _drawn(session: Session, row: RolloutRow, kept: RolloutWaveRow, plan: Plan) -> Drawn:
    name = rollout_id(row.number)
    controls = decode_row(kept.controls, dict[str, str], owner=name, what="controls")
    query = sa.select(RolloutDeviceRow.device, RolloutDeviceRow.wave, RolloutDeviceRow.status)
    reached = session.execute(query.filter_by(rollout=row.number)).all()
    mine = [d.device for d in reached if d.wave == row.wave and d.status not in {*OUTSIDE, "held"}]
    left = controls.keys() - {d.device for d in reached}
    return Drawn(_classes(session, mine), {d: controls[d] for d in sorted(left)}, (plan.seed or 0) + row.wave)


def _earlier(session: Session, row: RolloutRow) -> dict[int, _Measured]:
    query = sa.select(RolloutLookRow.number, RolloutLookRow.measured).filter_by(rollout=row.number, wave=row.wave)
    name = rollout_id(row.number)
    return {n: decode_row(body, _Measured, owner=name, what="look") for n, body in session.execute(query)}


def _classes(session: Session, devices: Collection[str]) -> dict[str, str]:
    """Device → its hardware class."""
    wanted, query = set(devices), sa.select(DeviceRow.id, DeviceRow.hardware_class)
    if len(wanted) <= 500:  # databases bound the parameters of a statement
        query = query.where(DeviceRow.id.in_(wanted))
    return {device: name for device, name in session.execute(query) if device in wanted}


def _counts(members: Collection[str], controls: Collection[str]) -> list[tuple[int, int]]:
    mine, others = Counter(members), Counter(controls)
    return [(mine[name], others[name]) for name in sorted({*mine, *others})]
