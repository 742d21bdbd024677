"""A device as people see it: in a list, and everything about it."""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_fleet import telemetry
from edgelift_fleet.assignments import to_desired
from edgelift_fleet.devices import LastSeen, get_device, is_online, tags_of
from edgelift_fleet.dropped import dropped
from edgelift_fleet.messages import (
    DeviceDetail,
    DeviceSummary,
    FaultView,
    HistoryEntry,
    SlotSummary,
    SpeakerView,
)
from edgelift_fleet.numbering import revisions_spent
from edgelift_fleet.reported import read_degraded
from edgelift_fleet.rows import Fault, read_row
from edgelift_fleet.tables import AssignmentRow, DeviceRow, SlotStateRow, UpdateHistoryRow


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
        device=summary(
            row, seen, tags, slots, assigned.body if assigned else None, into, doubts_about(session, device)
        ),
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
        dropped=dropped(session, device),
        degraded=read_degraded(device, row.degraded),
    )


def doubts_about(session: Session, device: str) -> list[Fault]:
    """What of a device's words no board can mean."""
    return list(telemetry.doubts_of(session, [device]).values())


def _facts(row: DeviceRow, into: list[Fault]) -> DeviceFacts:
    found = read_row(row.facts, DeviceFacts, owner=row.id, what="facts", into=into)
    return found or DeviceFacts(row.hardware_class or "unknown")


def summary(
    row: DeviceRow,
    seen: LastSeen,
    tags: dict[str, str],
    slots: list[SlotStateRow],
    body: str | None,
    into: list[Fault],
    doubts: list[Fault],
) -> DeviceSummary:
    """A device in a list, with doubts of it; what can't be read of it is added to `into`, after what was found before."""
    last_seen, transport = seen.of(row)
    facts = _facts(row, into)
    wanted = read_row(body, Assignment, owner=row.id, what="assignment", into=into) if body is not None else None
    if spent := revisions_spent(row.id, wanted.revision if wanted else 0, row.revision_seen):
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
        doubts=_views(doubts),
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
