"""The state of the fleet as people ask for it: lists and details, read from the tables."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_fleet import telemetry
from edgelift_fleet.assignments import revisions_spent
from edgelift_fleet.devices import LastSeen, get_device, is_online, tags_of
from edgelift_fleet.messages import (
    ArtifactView,
    Desired,
    DeviceDetail,
    DeviceSummary,
    FaultView,
    HistoryEntry,
    ReleaseView,
    SlotSummary,
    SpeakerView,
)
from edgelift_fleet.registry import read_release
from edgelift_fleet.rows import Fault, UnreadableRow, read_row
from edgelift_fleet.scrub import damaged_blobs, is_whole
from edgelift_fleet.tables import AssignmentRow, DeviceRow, ReleaseRow, SlotStateRow, UpdateHistoryRow


def list_devices(session: Session, seen: LastSeen) -> list[DeviceSummary]:
    """All devices, by id."""
    rows = list(session.scalars(sa.select(DeviceRow).order_by(DeviceRow.id)))
    slots: dict[str, list[SlotStateRow]] = {}
    for slot in session.scalars(sa.select(SlotStateRow).order_by(SlotStateRow.slot)):
        slots.setdefault(slot.device, []).append(slot)
    tags = tags_of(session, [row.id for row in rows])
    wanted = {row.device: row.body for row in session.scalars(sa.select(AssignmentRow))}
    return [_summary(row, seen, tags[row.id], slots.get(row.id, []), wanted.get(row.id), []) for row in rows]


def device_detail(session: Session, seen: LastSeen, device: str) -> DeviceDetail:
    """Everything about one device.

    Raises:
        ContractError: `bad-id`, `not-found`.
    """
    row = get_device(session, device)
    into: list[Fault] = []
    slots = list(session.scalars(sa.select(SlotStateRow).filter_by(device=device).order_by(SlotStateRow.slot)))
    history = session.scalars(
        sa.select(UpdateHistoryRow).filter_by(device=device).order_by(UpdateHistoryRow.id.desc()).limit(50)
    )
    updates = [
        (u, read_row(u.body, UpdateReport, owner=device, what="update history", into=into)) for u in history
    ]
    latency = telemetry.latency_by_version(session, device)
    swaps, events = telemetry.swaps(session, device, into=into), telemetry.events(session, device, into=into)
    assigned = session.get(AssignmentRow, device)
    tags = tags_of(session, [device])[device]
    return DeviceDetail(
        device=_summary(row, seen, tags, slots, assigned.body if assigned else None, into),
        enrolled_at=row.enrolled_at,
        agent_version=row.agent_version,
        facts=_facts(row, []),
        latency=latency,
        swaps=swaps,
        history=[
            HistoryEntry(u.slot, u.first_at, u.last_at, update) for u, update in updates if update is not None
        ],
        events=events,
        windows_received=telemetry.count_windows(session, device),
    )


def _facts(row: DeviceRow, into: list[Fault]) -> DeviceFacts:
    found = read_row(row.facts, DeviceFacts, owner=row.id, what="facts", into=into)
    return found or DeviceFacts(row.hardware_class or "unknown")


def _summary(
    row: DeviceRow,
    seen: LastSeen,
    tags: dict[str, str],
    slots: list[SlotStateRow],
    body: str | None,
    into: list[Fault],
) -> DeviceSummary:
    """A device in a list; what can't be read of it is added to `into`, after what was found before."""
    last_seen, transport = seen.of(row)
    facts = _facts(row, into)
    wanted = read_row(body, Assignment, owner=row.id, what="assignment", into=into) if body is not None else None
    if spent := revisions_spent(row.id, row.revision_seen):
        into.append(spent)
    desired = wanted.slots if wanted else {}
    reported = {slot.slot: slot for slot in slots}
    return DeviceSummary(
        device=row.id,
        online=is_online(row, last_seen, time.time()),
        last_seen=last_seen,
        transport="mqtt" if row.presence_online else transport,
        hardware_class=facts.hardware_class,
        tags=tags,
        revision=wanted.revision if wanted else 0,
        revision_seen=row.revision_seen,
        revision_applied=row.revision_applied,
        slots=[
            _slot(name, reported.get(name), desired.get(name), into)
            for name in sorted(reported.keys() | desired.keys())
        ],
        duplicates=[
            SpeakerView(one.epoch, one.address, one.via, one.last_at) for one in seen.sightings.duplicates(row.id)
        ],
        faults=_views(into),
    )


def _views(faults: list[Fault]) -> list[FaultView]:
    """Each kind once: of a thousand damaged rows one tells all."""
    first = {(fault.what, fault.code): fault for fault in reversed(faults)}
    return [FaultView(one.what, one.code, one.message, one.hint) for one in reversed(first.values())]


def _slot(name: str, row: SlotStateRow | None, wanted: SlotAssignment | None, into: list[Fault]) -> SlotSummary:
    update = None
    if row is not None and row.last_update:
        update = read_row(row.last_update, UpdateReport, owner=row.device, what="last update", into=into)
    return SlotSummary(
        slot=name,
        state=row.state if row else "empty",
        generation=row.generation if row else 0,
        model=row.model if row else "",
        version=row.version if row else "",
        artifact=row.artifact if row else "",
        since=row.since if row else 0.0,
        desired=to_desired(wanted) if wanted else None,
        update=update,
    )


def to_desired(wanted: SlotAssignment) -> Desired:
    """A slot's assignment, as people see it."""
    return Desired(wanted.model, wanted.version, wanted.artifact, wanted.rollout, wanted.policy, wanted.placebo)


def list_releases(session: Session, blobs: Path) -> list[ReleaseView]:
    """All releases, newest first, with how many slots serve each; `blobs` is where a damaged one would be set aside."""
    damaged = damaged_blobs(blobs)
    running: dict[str, int] = {}
    query = sa.select(SlotStateRow.model, SlotStateRow.version, sa.func.count()).group_by(
        SlotStateRow.model, SlotStateRow.version
    )
    for model, version, number in session.execute(query):
        running[f"{model}@{version}"] = number
    rows = session.scalars(sa.select(ReleaseRow).order_by(ReleaseRow.id.desc()))
    found = [_release(row, running.get(f"{row.model}@{row.version}", 0)) for row in rows]
    return [_with_damage(release, blobs, damaged) for release in found] if damaged else found


def _with_damage(release: ReleaseView, blobs: Path, damaged: set[str]) -> ReleaseView:
    hurt = [artifact.hardware_class for artifact in release.artifacts if not is_whole(blobs, artifact.id, damaged)]
    if not hurt:
        return release
    text = f"Files of it are damaged ({', '.join(sorted(set(hurt)))}): publish it again."
    return msgspec.structs.replace(release, fault=text)


def _release(row: ReleaseRow, number: int) -> ReleaseView:
    try:
        release = read_release(row)
    except UnreadableRow as error:
        return ReleaseView(
            row.model, row.version, row.release_counter, row.published_at, [], number, fault=str(error)
        )
    entries = [
        ArtifactView(a.id, a.hardware_class, a.targets, a.runtime, a.format, a.variant, a.rank, a.size_bytes)
        for a in release.artifacts
    ]
    return ReleaseView(row.model, row.version, row.release_counter, row.published_at, entries, number)
