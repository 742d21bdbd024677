"""Giving devices a rollout's release, and taking it back: many at once.

Each function writes one chunk of devices in a fixed number of statements, inside the caller's write transaction, and
returns the devices whose assignment changed: they are told once it is committed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_contract.errors import PASSING, ContractError
from edgelift_contract.release import ReleaseArtifact
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.rules import choose
from edgelift_fleet.assignments import failed_at, set_slots
from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.registry import get_release
from edgelift_fleet.rollout.judge import taken_over
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.story import note
from edgelift_fleet.rows import UnreadableRow, decode_row, read_row
from edgelift_fleet.tables import (
    ArtifactRow,
    AssignmentRow,
    DeviceRow,
    ReleaseRow,
    RolloutDeviceRow,
    RolloutEventRow,
    RolloutRow,
    SlotStateRow,
)

#: Devices that one transaction writes: those of the first are told while the others are still being written.
CHUNK = 200


def hand_out(session: Session, row: RolloutRow, devices: Sequence[str], seen: LastSeen) -> list[str]:
    """Assign a rollout's release to devices: to new ones, to those that were held back, and once more to those that failed.

    What can't be assigned to a device costs that device: it is `unsuited`, with the reason.
    """
    now, about = time.time(), {one.id: one for one in _about(session, row, devices)}
    wishes, errors = _wishes(session, row, about)
    previous = _previous(session, row, about, wishes)
    revisions: dict[str, int] = {}
    # Whom nothing suited was never reached: what it goes back to is what it has now.
    reached = {device for device, one in about.items() if one.kept is not None and one.mine}
    failed = {device for device in reached if not about[device].held}
    for device, outcome in set_slots(session, row.slot, wishes, again=failed).items():
        if isinstance(outcome, ContractError):
            errors[device] = outcome
        else:
            revisions[device] = outcome or 0
    new: list[dict[str, Any]] = []
    again: list[dict[str, Any]] = []
    for device, one in about.items():
        there = is_there(one.presence_online, one.gone_at, seen.at(device, one.last_seen), now)
        error = errors.get(device)
        (new if one.kept is None else again).append({
            "rollout": row.number, "device": device, "assigned_at": now,
            "wave": one.wave if device in failed else row.wave, "tried": (one.tried or 0) + (device in failed),
            "artifact": "" if error else wishes[device].artifact, "revision": revisions.get(device, 0),
            "previous": one.kept if device in reached else previous.get(device, ""),
            "told_at": now if there else 0.0, "going_back": False, "held": False, "status_at": now, "lapses": 0,
            "status": "unsuited" if error else "waiting" if there else "offline",
            "code": error.code if error else "", "message": error.message if error else "",
        })  # fmt: skip
        if error:
            note(session, row, "unsuited", f"{device}: {error.message} ({error.code})")
    if new:
        session.execute(sa.insert(RolloutDeviceRow), new)
    if again:
        session.execute(sa.update(RolloutDeviceRow), again)
    return [device for device, revision in revisions.items() if revision]


def give_back(session: Session, row: RolloutRow, devices: Sequence[str], seen: LastSeen) -> list[str]:
    """Assign to devices again what they had before a rollout; who should run something else by now is left alone.

    Who was let go since the rollback was ordered is given it too, and not waited for.
    """
    since = sa.select(sa.func.max(RolloutEventRow.at)).filter_by(rollout=row.number, kind="rolling-back")
    mine = RolloutDeviceRow
    gone = sa.select(mine.device).where(
        mine.rollout == row.number,
        mine.status == "let-go",
        mine.status_at >= since.scalar_subquery(),
        mine.device.in_(devices),
    )
    let_go = set(session.scalars(gone))
    changed = _take_away(
        session, row, [d for d in devices if d not in let_go], seen, {"going_back": True, "status": "updating"}
    )
    if not let_go:
        return changed
    return changed + _take_away(session, row, sorted(let_go), seen, {"going_back": True, "status": "let-go"})


def hold_back(session: Session, row: RolloutRow, devices: Sequence[str], seen: LastSeen) -> list[str]:
    """Assign to devices again what they had before a rollout, until it goes on."""
    return _take_away(session, row, devices, seen, {"held": True, "status": "held"})


def _take_away(
    session: Session, row: RolloutRow, devices: Sequence[str], seen: LastSeen, becomes: Mapping[str, Any]
) -> list[str]:
    now, about = time.time(), {one.id: one for one in _about(session, row, devices)}
    wishes: dict[str, SlotAssignment | None] = {}
    changes: list[dict[str, Any]] = []
    for device, one in about.items():
        try:
            current, again = _slot_of(device, one.body, row.slot), _again(device, one.kept, row)
        except UnreadableRow as error:  # nothing is known to give back: it is named until it is mended, or let go
            changes.append({**becomes, "code": error.code, "message": str(error), "device": device})
            continue
        if _is_taken_over(row, one, current, again):
            changes.append(
                {"status": "superseded", "message": "Another assignment took its place.", "device": device}
            )
        else:
            wishes[device] = again
    outcomes = set_slots(session, row.slot, wishes)
    for device, outcome in outcomes.items():
        one = about[device]
        heard = one.told_at or (now if seen.at(device, one.last_seen) > one.assigned_at else 0.0)
        change = {"device": device, "assigned_at": now, "told_at": heard, **becomes}
        if isinstance(outcome, ContractError):
            change["code"], change["message"] = outcome.code, outcome.message
        elif outcome is not None:
            change["revision"] = outcome
        changes.append(change)
    for names in {tuple(sorted(c)) for c in changes}:  # one statement for all changes of the same columns
        same = [{"rollout": row.number, "status_at": now, **c} for c in changes if tuple(sorted(c)) == names]
        session.execute(sa.update(RolloutDeviceRow), same)
    return [device for device, outcome in outcomes.items() if isinstance(outcome, int)]


def _is_taken_over(
    row: RolloutRow, one: Any, current: SlotAssignment | None, again: SlotAssignment | None
) -> bool:
    """Has its slot something else by now than the rollout gave it?"""
    if not one.held:
        return current is None or current.artifact != one.mine
    has, asked_by = (current.artifact, current.rollout) if current else ("", "")
    return taken_over(has, asked_by, rollout_id(row.number), again.artifact if again else "", one.mine)


def _again(device: str, previous: str, row: RolloutRow) -> SlotAssignment | None:
    if not previous:
        return None  # a first release: its slot is to be empty again
    kept = decode_row(previous, SlotAssignment, owner=device, what="previous assignment")
    policy = msgspec.structs.replace(kept.policy, allow_older=True)
    return msgspec.structs.replace(kept, policy=policy, rollout=rollout_id(row.number))


def _about(session: Session, row: RolloutRow, devices: Sequence[str]) -> Sequence[Any]:
    query = sa.select(
        DeviceRow.id, DeviceRow.facts, DeviceRow.last_seen, DeviceRow.presence_online, DeviceRow.gone_at,
        AssignmentRow.body, SlotStateRow.artifact.label("serving"), SlotStateRow.last_update,
        RolloutDeviceRow.previous.label("kept"), RolloutDeviceRow.artifact.label("mine"), RolloutDeviceRow.held,
        RolloutDeviceRow.told_at, RolloutDeviceRow.assigned_at, RolloutDeviceRow.wave, RolloutDeviceRow.tried,
    )  # fmt: skip
    slot = sa.and_(SlotStateRow.device == DeviceRow.id, SlotStateRow.slot == row.slot)
    mine = sa.and_(RolloutDeviceRow.device == DeviceRow.id, RolloutDeviceRow.rollout == row.number)
    query = query.outerjoin(AssignmentRow, AssignmentRow.device == DeviceRow.id).outerjoin(SlotStateRow, slot)
    return session.execute(query.outerjoin(RolloutDeviceRow, mine).where(DeviceRow.id.in_(devices))).all()


def _wishes(
    session: Session, row: RolloutRow, about: Mapping[str, Any]
) -> tuple[dict[str, SlotAssignment], dict[str, ContractError]]:
    """What each device should run, or why there is nothing for it."""
    name = f"{row.model}@{row.version}"
    release, policy = (
        get_release(session, name),
        decode_row(row.policy, Policy, owner=rollout_id(row.number), what="policy"),
    )
    chosen: dict[str, ReleaseArtifact] = {}  # by facts: a fleet has few kinds of machines
    wishes: dict[str, SlotAssignment] = {}
    errors: dict[str, ContractError] = {}
    for device, one in about.items():
        try:
            _slot_of(device, one.body, row.slot)
            if one.facts not in chosen:
                facts = decode_row(one.facts, DeviceFacts, owner=device, what="facts")
                chosen[one.facts] = choose(release.artifacts, facts, what=name)
        except ContractError as error:
            errors[device] = error
            continue
        entry = chosen[one.facts]
        wishes[device] = SlotAssignment(
            entry.id, entry.manifest_bytes, release.model, release.version, policy, rollout_id(row.number)
        )
    return wishes, errors


def _previous(
    session: Session, row: RolloutRow, about: Mapping[str, Any], wishes: Mapping[str, SlotAssignment]
) -> dict[str, str]:
    """What each device's slot is to go back to, as JSON; nothing for one that had nothing.

    What the device says it serves comes first: an assignment that it refused earlier is nothing to go back to, neither
    from something else nor from an empty slot.
    """
    standing = {device: _slot_of(device, about[device].body, row.slot) for device in wishes}
    other = {
        device: about[device].serving
        for device, wanted in standing.items()
        if about[device].serving and (wanted is None or wanted.artifact != about[device].serving)
    }
    query = sa.select(ArtifactRow.id, ArtifactRow.manifest_bytes, ReleaseRow.model, ReleaseRow.version)
    query = query.join(ReleaseRow, ReleaseRow.id == ArtifactRow.release_id).where(
        ArtifactRow.id.in_(set(other.values()))
    )
    published: dict[str, Any] = {one.id: one for one in session.execute(query)} if other else {}
    found = {}
    for device, wanted in standing.items():
        one = published.get(other.get(device, ""))  # or it serves something that was never published here
        if one is not None:
            policy = (wanted or wishes[device]).policy
            wanted = SlotAssignment(one.id, one.manifest_bytes, one.model, one.version, policy)
        elif wanted is not None and _is_hopeless(device, about[device], wanted):
            wanted = None
        if wanted is not None:
            found[device] = codec.canonical_json(wanted).decode()
    return found


def _is_hopeless(device: str, one: Any, wanted: SlotAssignment) -> bool:
    """Did it fail at what its slot should run, for a reason that does not pass? Going back to that would fail again."""
    if not one.last_update or one.serving == wanted.artifact:
        return False
    update = read_row(one.last_update, UpdateReport, owner=device, what="last update", into=[])
    return update is not None and failed_at(update, wanted) and update.code not in PASSING


def _slot_of(device: str, body: str | None, slot: str) -> SlotAssignment | None:
    return decode_row(body, Assignment, owner=device, what="assignment").slots.get(slot) if body else None
