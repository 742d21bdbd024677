"""What a rollout can see: its devices and its cohort, read from the database in a fixed number of statements.

Whatever the fleet: one statement for the rollout's devices with all that is known of each, one for what they reported
of it, two for what the host has seen itself of who says that it committed, one to three for the cohort, one for
other rollouts of the slot, and one for the wave's gate. What can't be read of one device costs that device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import ACCEPTS
from edgelift_contract.release import Release
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.rules import choose
from edgelift_fleet.cohorts import Member
from edgelift_fleet.db import among
from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.numbering import revisions_spent
from edgelift_fleet.registry import get_release
from edgelift_fleet.rollout.draw import order
from edgelift_fleet.rollout.evidence import Claim, judge_claims
from edgelift_fleet.rollout.judge import Kept, Said, Standing, judge_device
from edgelift_fleet.rollout.members import ids_of, members_of
from edgelift_fleet.rollout.pace import Trait
from edgelift_fleet.rollout.plan import Plan, read_plan, to_plan
from edgelift_fleet.rollout.situation import TERMINAL, DeviceSeen, GateSeen, Observations, RolloutState, Scope
from edgelift_fleet.rollout.watched import gate_of
from edgelift_fleet.rows import Fault, decode_row, read_row
from edgelift_fleet.tables import (
    AssignmentRow,
    DeviceRow,
    RolloutDeviceRow,
    RolloutEventRow,
    RolloutMemberRow,
    RolloutRow,
    SlotStateRow,
    UpdateHistoryRow,
)


class Placed(NamedTuple):
    """A device that a rollout reached: what is kept of it, and where it stands now; `told`: can it know of it by now?"""

    kept: Kept
    standing: Standing
    told: bool


@dataclass(frozen=True)
class Cohort:
    """Which devices a rollout is about now.

    Attributes:
        ids: in the order of choice.
        away: those that are not there now.
        traits: what their pace depends on; of none where the plan has no limits.
        elsewhere: devices that are selected, but that another rollout of the same slot has → its id.
    """

    ids: list[str]
    away: frozenset[str]
    elsewhere: dict[str, str]
    traits: dict[str, Trait]


class _Wanted(msgspec.Struct):
    artifact: str = ""
    rollout: str = ""


class _Slots(msgspec.Struct):
    """Of an assignment only what a judgement needs, so that an odd one is still read."""

    slots: dict[str, _Wanted] = {}


_NOTHING = _Wanted()

#: Why nothing of a release suits a device: what `contract.rules.choose` says of its facts.
_UNSUITED = ("wrong-hardware-class", "runtime-missing")


def rollout_id(number: int) -> str:
    """The name of a rollout, as it travels in assignments: `r7`."""
    return f"r{number}"


def plan_of(row: RolloutRow) -> Plan:
    """The plan of a rollout; raises UnreadableRow."""
    name = rollout_id(row.number)
    policy = read_row(row.policy, Policy, owner=name, what="policy", into=[]) or Policy()
    return to_plan(read_plan(row.plan, owner=name), policy.probation_s)


def look(session: Session, row: RolloutRow, seen: LastSeen, now: float) -> tuple[dict[str, Placed], Observations]:
    """All that a rollout can see now: its devices by id, and what `rollout.decide` needs to know.

    Raises:
        UnreadableRow: what is stored of the rollout itself can't be read.
    """
    cohort = cohort_of(session, row, seen, now)
    found = standings(session, row, cohort, seen, now)
    gate = gate_of(session, row)
    cause = _cause(session, row) if row.state == "rolling-back" else ""
    observed = observe(row, found, cohort, now, cause=cause, gate=gate)
    return found, replace(observed, listening_since=seen.listening_since)


def standings(session: Session, row: RolloutRow, cohort: Cohort, seen: LastSeen, now: float) -> dict[str, Placed]:
    """Every device that a rollout reached, by id, and where it stands now."""
    name = rollout_id(row.number)
    deadline_s = read_plan(row.plan, owner=name).deadline_s
    faults: dict[str, list[Fault]] = {}
    updates, selected_now = _updates(session, name, row.slot, faults), set(cohort.ids)
    found: dict[str, Placed] = {}
    heard: dict[str, Said] = {}
    for one in _everything(session, row.number, row.slot):
        into = faults.setdefault(one.device, [])
        kept, said = _kept(one, into), _said(one, row.slot, updates.get(one.device), into)
        last_seen = seen.at(kept.device, one.last_seen)
        said = replace(
            said, there=is_there(one.presence_online, one.gone_at, last_seen, now), selected=kept.device in selected_now,
            heard=last_seen > kept.assigned_at, deadline_s=deadline_s, listening_since=seen.listening_since, now=now,
        )  # fmt: skip
        # Who can't be judged for a reason of its own is no failure of the release.
        standing = _set_apart(kept, into[0]) if into else _judge(kept, said, row)
        found[kept.device], heard[kept.device] = Placed(kept, standing, said.there or said.heard), said
    return found | _believe(session, row, found, heard, now) | _suited_by_now(session, row, found)


def _suited_by_now(session: Session, row: RolloutRow, found: Mapping[str, Placed]) -> dict[str, Placed]:
    """Of those that nothing suited, the ones whose facts have changed so that something does: they can be reached again."""
    asked = {
        device
        for device, one in found.items()
        if not one.kept.artifact and (one.kept.code in _UNSUITED or one.kept.status == "held")
    }
    if not asked or row.state not in ("running", "scheduled", "paused"):
        return {}
    name = f"{row.model}@{row.version}"
    release, query = get_release(session, name), sa.select(DeviceRow.id, DeviceRow.facts)
    judged = {}
    for device, text in session.execute(query.where(among(session, DeviceRow.id, asked))):
        try:
            choose(release.artifacts, decode_row(text, DeviceFacts, owner=device, what="facts"), what=name)
            standing = Standing("held", message=f"Its facts have changed: something of {name} suits it by now.")
        except ContractError as error:
            standing = Standing("unsuited", error.code, error.message)
        judged[device] = found[device]._replace(standing=standing)
    return judged


def _judge(kept: Kept, said: Said, row: RolloutRow) -> Standing:
    return judge_device(kept, said, rollout=rollout_id(row.number), going_back=row.state == "rolling-back")


def _believe(
    session: Session, row: RolloutRow, found: Mapping[str, Placed], heard: Mapping[str, Said], now: float
) -> dict[str, Placed]:
    """Hold what devices newly claim against what the host has seen itself; those of `found` that say *committed*."""
    claims = {
        device: Claim(update, one.kept.artifact, max(one.kept.assigned_at, one.kept.told_at))
        for device, one in found.items()
        if one.standing.status == "committed" != one.kept.status and (update := heard[device].update)
    }
    if not claims:
        return {}
    owner = rollout_id(row.number)
    hint = f"Cancel it: edgelift rollout cancel {owner}."
    policy = decode_row(row.policy, Policy, owner=owner, what="policy", hint=hint)
    judged = {}
    for device, belief in judge_claims(session, row.slot, policy, claims, now).items():
        said = replace(heard[device], doubt=belief.doubt, committed_by=belief.by)
        judged[device] = found[device]._replace(standing=_judge(found[device].kept, said, row))
    return judged


def _set_apart(kept: Kept, fault: Fault) -> Standing:
    return Standing("let-go" if kept.status == "let-go" else "left", fault.code, f"{fault.message} {fault.hint}")


def _everything(session: Session, number: int, slot: str) -> Sequence[Any]:
    reached = (
        RolloutDeviceRow.device, RolloutDeviceRow.wave, RolloutDeviceRow.artifact, RolloutDeviceRow.revision,
        RolloutDeviceRow.assigned_at, RolloutDeviceRow.told_at, RolloutDeviceRow.previous, RolloutDeviceRow.going_back,
        RolloutDeviceRow.held, RolloutDeviceRow.status, RolloutDeviceRow.status_at, RolloutDeviceRow.code,
        RolloutDeviceRow.message, RolloutDeviceRow.committed_by, RolloutDeviceRow.tried, RolloutDeviceRow.lapses,
    )  # fmt: skip
    about = (DeviceRow.revision_seen, DeviceRow.last_seen, DeviceRow.presence_online, DeviceRow.gone_at)
    query = sa.select(
        *reached,
        *about,
        AssignmentRow.body,
        AssignmentRow.revision.label("standing"),
        SlotStateRow.artifact.label("serving"),
    )
    query = query.join(DeviceRow, DeviceRow.id == RolloutDeviceRow.device)
    query = query.outerjoin(AssignmentRow, AssignmentRow.device == RolloutDeviceRow.device)
    state = sa.and_(SlotStateRow.device == RolloutDeviceRow.device, SlotStateRow.slot == slot)
    query = query.outerjoin(SlotStateRow, state).where(RolloutDeviceRow.rollout == number)
    return session.execute(query).all()


def _kept(one: Any, into: list[Fault]) -> Kept:
    previous = (
        read_row(one.previous, _Wanted, owner=one.device, what="previous assignment", into=into)
        if one.previous
        else None
    )
    return Kept(
        one.device, one.wave, one.artifact, one.revision, one.assigned_at, one.told_at,
        previous.artifact if previous else "", one.going_back, one.held, one.status, one.status_at, one.code, one.message,
        one.committed_by, one.tried, one.lapses,
    )  # fmt: skip


def _said(one: Any, slot: str, update: UpdateReport | None, into: list[Fault]) -> Said:
    read = read_row(one.body, _Slots, owner=one.device, what="assignment", into=into) if one.body else None
    if spent := revisions_spent(one.device, one.standing or 0, one.revision_seen):
        into.append(spent)
    wanted = read.slots.get(slot, _NOTHING) if read else _NOTHING
    return Said(
        desired=wanted.artifact, asked_by=wanted.rollout, revision_seen=one.revision_seen, serving=one.serving or "",
        update=update,
    )  # fmt: skip


def _updates(session: Session, rollout: str, slot: str, faults: dict[str, list[Fault]]) -> dict[str, UpdateReport]:
    """The newest update of each device that a rollout asked for."""
    query = sa.select(UpdateHistoryRow.device, UpdateHistoryRow.body).filter_by(rollout=rollout, slot=slot)
    newest: dict[str, str] = dict(session.execute(query.order_by(UpdateHistoryRow.id)).all())
    found = {}
    for device, body in newest.items():
        into = faults.setdefault(device, [])
        update = read_row(body, UpdateReport, owner=device, what="update history", into=into)
        if update is not None:
            found[device] = update
    return found


def _cause(session: Session, row: RolloutRow) -> str:
    """The reason that began a rollout's last rollback."""
    query = sa.select(RolloutEventRow.text).filter_by(rollout=row.number, kind="rolling-back")
    return session.scalar(query.order_by(RolloutEventRow.id.desc()).limit(1)) or ""


def observe(
    row: RolloutRow,
    found: Mapping[str, Placed],
    cohort: Cohort,
    now: float,
    *,
    cause: str = "",
    gate: GateSeen | None = None,
) -> Observations:
    """What `rollout.decide` needs to know."""
    devices = [
        DeviceSeen(
            device, kept.wave, standing.status, kept.status_at if standing.status == kept.status else now,
            max(kept.assigned_at, kept.told_at), _reason(standing), kept.going_back, standing.code, kept.tried,
        )
        for device, (kept, standing, _) in sorted(found.items())
    ]  # fmt: skip
    return Observations(
        msgspec.convert(row.state, RolloutState), row.wave, cohort.ids, devices, cohort.away, cohort.elsewhere,
        msgspec.convert(row.back, Scope), row.approved, cohort.traits, cause, gate,
    )  # fmt: skip


def cohort_of(session: Session, row: RolloutRow, seen: LastSeen, now: float) -> Cohort:
    """Which devices a rollout is about now."""
    kept = read_plan(row.plan, owner=rollout_id(row.number))
    members = members_of(session, row, seen, now)
    elsewhere = _elsewhere(session, row, {member.device for member in members})
    mine = [member for member in members if member.device not in elsewhere]
    if kept.seed is None:  # from before there was a draw: it goes on as it began
        ids = [m.device for m in sorted(mine, key=lambda m: (not m.online, m.device))]
    else:
        ids = order(mine, kept.seed, row.wave + 1)
    away = frozenset(m.device for m in mine if not m.online)
    return Cohort(ids, away, elsewhere, _traits(session, row, to_plan(kept), mine))


def _traits(session: Session, row: RolloutRow, plan: Plan, members: Sequence[Member]) -> dict[str, Trait]:
    if not plan.is_paced():
        return {}
    release = get_release(session, f"{row.model}@{row.version}") if plan.bandwidth_bytes_s else None
    sizes = {
        name: max_size(release, name) if release else 0 for name in {member.hardware_class for member in members}
    }
    return {m.device: Trait(m.timezone, sizes[m.hardware_class]) for m in members}


def max_size(release: Release, hardware_class: str) -> int:
    """Bytes of the largest artifact that a device of this class may get."""
    accepts = next((found for name, found in ACCEPTS.items() if name == hardware_class), ())
    fitting = [a.size_bytes for a in release.artifacts if a.hardware_class in (hardware_class, *accepts)]
    return max(fitting, default=0)


def keep_members(session: Session, number: int, devices: Sequence[str]) -> None:
    """Remember who is selected when a rollout starts: no others are taken in."""
    session.execute(sa.insert(RolloutMemberRow), [{"rollout": number, "device": device} for device in devices])


def _elsewhere(session: Session, row: RolloutRow, mine: set[str]) -> dict[str, str]:
    """Of the devices that a rollout selects, those that belong to another open rollout of the slot.

    Such a device changed its own tags: an operator is refused to bring that about. Whoever reached it first keeps it.
    """
    others = sa.select(RolloutRow).where(
        RolloutRow.slot == row.slot, RolloutRow.number != row.number, RolloutRow.state.not_in(TERMINAL)
    )
    found: dict[str, str] = {}
    for other in session.scalars(others.order_by(RolloutRow.number)):
        shared = mine & ids_of(session, other)
        if shared:
            held, own = _reached(session, other.number), _reached(session, row.number)
            first = {d for d in shared if d in held or (d not in own and other.number < row.number)}
            found.update(dict.fromkeys(first - own, rollout_id(other.number)))
    return found


def _reached(session: Session, number: int) -> set[str]:
    gone = ("superseded", "left", "unsuited", "let-go")
    query = sa.select(RolloutDeviceRow.device).filter_by(rollout=number)
    return set(session.scalars(query.where(RolloutDeviceRow.status.not_in(gone))))


def _reason(standing: Standing) -> str:
    if standing.code and standing.message:
        return f"{standing.message} ({standing.code})"
    return standing.message or standing.code
