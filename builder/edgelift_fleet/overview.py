"""The state of the fleet as people ask for it: lists and details, read from the tables."""

from __future__ import annotations

import time

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.release import Release
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_fleet import telemetry
from edgelift_fleet.assignments import get_assignment
from edgelift_fleet.devices import LastSeen, get_device, is_online, tags_of
from edgelift_fleet.messages import (
    ArtifactView,
    Desired,
    DeviceDetail,
    DeviceSummary,
    HistoryEntry,
    ReleaseView,
    SlotSummary,
    SpeakerView,
)
from edgelift_fleet.tables import AssignmentRow, DeviceRow, ReleaseRow, SlotStateRow, UpdateHistoryRow


def list_devices(session: Session, seen: LastSeen) -> list[DeviceSummary]:
    """All devices, by id."""
    rows = list(session.scalars(sa.select(DeviceRow).order_by(DeviceRow.id)))
    slots: dict[str, list[SlotStateRow]] = {}
    for slot in session.scalars(sa.select(SlotStateRow).order_by(SlotStateRow.slot)):
        slots.setdefault(slot.device, []).append(slot)
    tags = tags_of(session, [row.id for row in rows])
    wanted = {
        row.device: msgspec.json.decode(row.body, type=Assignment)
        for row in session.scalars(sa.select(AssignmentRow))
    }
    return [_summary(row, seen, tags[row.id], slots.get(row.id, []), wanted.get(row.id)) for row in rows]


def device_detail(session: Session, seen: LastSeen, device: str) -> DeviceDetail:
    """Everything about one device.

    Raises:
        ContractError: `bad-id`, `not-found`.
    """
    row = get_device(session, device)
    slots = list(session.scalars(sa.select(SlotStateRow).filter_by(device=device).order_by(SlotStateRow.slot)))
    history = session.scalars(
        sa.select(UpdateHistoryRow).filter_by(device=device).order_by(UpdateHistoryRow.id.desc()).limit(50)
    )
    return DeviceDetail(
        device=_summary(row, seen, tags_of(session, [device])[device], slots, get_assignment(session, device)),
        enrolled_at=row.enrolled_at,
        agent_version=row.agent_version,
        facts=msgspec.json.decode(row.facts, type=DeviceFacts),
        latency=telemetry.latency_by_version(session, device),
        swaps=telemetry.swaps(session, device),
        history=[
            HistoryEntry(u.slot, u.first_at, u.last_at, msgspec.json.decode(u.body, type=UpdateReport))
            for u in history
        ],
        events=telemetry.events(session, device),
        windows_received=telemetry.count_windows(session, device),
    )


def _summary(
    row: DeviceRow, seen: LastSeen, tags: dict[str, str], slots: list[SlotStateRow], wanted: Assignment | None
) -> DeviceSummary:
    last_seen, transport = seen.of(row)
    desired = wanted.slots if wanted else {}
    reported = {slot.slot: slot for slot in slots}
    return DeviceSummary(
        device=row.id,
        online=is_online(row, last_seen, time.time()),
        last_seen=last_seen,
        transport="mqtt" if row.presence_online else transport,
        hardware_class=msgspec.json.decode(row.facts, type=DeviceFacts).hardware_class,
        tags=tags,
        revision=wanted.revision if wanted else 0,
        revision_seen=row.revision_seen,
        revision_applied=row.revision_applied,
        slots=[
            _slot(name, reported.get(name), desired.get(name)) for name in sorted(reported.keys() | desired.keys())
        ],
        duplicates=[
            SpeakerView(one.epoch, one.address, one.via, one.last_at) for one in seen.sightings.duplicates(row.id)
        ],
    )


def _slot(name: str, row: SlotStateRow | None, wanted: SlotAssignment | None) -> SlotSummary:
    return SlotSummary(
        slot=name,
        state=row.state if row else "empty",
        generation=row.generation if row else 0,
        model=row.model if row else "",
        version=row.version if row else "",
        artifact=row.artifact if row else "",
        since=row.since if row else 0.0,
        desired=to_desired(wanted) if wanted else None,
        update=msgspec.json.decode(row.last_update, type=UpdateReport) if row and row.last_update else None,
    )


def to_desired(wanted: SlotAssignment) -> Desired:
    """A slot's assignment, as people see it."""
    return Desired(wanted.model, wanted.version, wanted.artifact, wanted.rollout, wanted.policy, wanted.placebo)


def list_releases(session: Session) -> list[ReleaseView]:
    """All releases, newest first, with how many slots serve each."""
    running: dict[str, int] = {}
    query = sa.select(SlotStateRow.model, SlotStateRow.version, sa.func.count()).group_by(
        SlotStateRow.model, SlotStateRow.version
    )
    for model, version, number in session.execute(query):
        running[f"{model}@{version}"] = number
    return [
        _release(msgspec.json.decode(row.body, type=Release), row.published_at, running)
        for row in session.scalars(sa.select(ReleaseRow).order_by(ReleaseRow.id.desc()))
    ]


def _release(release: Release, published_at: float, running: dict[str, int]) -> ReleaseView:
    entries = [
        ArtifactView(a.id, a.hardware_class, a.targets, a.runtime, a.format, a.variant, a.rank, a.size_bytes)
        for a in release.artifacts
    ]
    number = running.get(f"{release.model}@{release.version}", 0)
    return ReleaseView(release.model, release.version, release.release_counter, published_at, entries, number)
