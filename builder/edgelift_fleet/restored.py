"""A site that came back from a backup, and devices that went on since: who keeps what it runs until a person says.

A device that has seen a higher number than the backup knows is told the backup's assignment anew (`assignments.overtake`)
only where that changes nothing of what it runs, or once somebody has assigned anything to it since. Where it would, it may
be told a release that was taken back since, all devices at once and without a gate: so it stays as it is, is listed, and
a person tells it (`tell_anew`), or assigns something else.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.errors import ContractError
from edgelift_contract.report import SlotReport, UpdateReport
from edgelift_fleet.assignments import renumbered
from edgelift_fleet.db import among
from edgelift_fleet.messages import RestoredView, TellReply, WentOn
from edgelift_fleet.numbering import next_revision, revisions_spent
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import AssignmentRow, ControlRow, DeviceRow, SlotStateRow

log = logging.getLogger(__name__)

#: In `control`: from which backup the site was restored, and when.
RESTORED = "restored"
#: Boards that a view names.
MAX_NAMED = 1000


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What `control` keeps of a restore; `holds`: boards that went on are not told anew by themselves."""

    backup: str
    made_at: float
    restored_at: float
    holds: bool = False


class Staying:
    """The devices that were heard of here and stay as they are: their polls are not answered by what they know better."""

    def __init__(self) -> None:
        self._devices: set[str] = set()

    def note(self, device: str) -> None:
        """This one stays; said once."""
        if device not in self._devices:
            self._devices.add(device)
            log.warning(
                "device=%s went on since the backup of which this site was made; it keeps what it runs"
                " (edgelift restored)", device,
            )  # fmt: skip

    def __contains__(self, device: object) -> bool:
        return device in self._devices


class _Slot(NamedTuple):
    """What a device says of a slot."""

    artifact: str
    version: str
    update: UpdateReport | None


def note_restored(session: Session, restored: Restored) -> None:
    """Keep it, inside the restore's transaction."""
    session.merge(ControlRow(name=RESTORED, value=msgspec.json.encode(restored).decode()))
    # By whatever clock they were issued: what a person assigns from now on is later.
    late = sa.update(AssignmentRow).where(AssignmentRow.issued_at > restored.restored_at)
    session.execute(late.values(issued_at=restored.restored_at))


def read_restored(session: Session) -> Restored | None:
    """What is kept of the last restore; None for a site that never was restored."""
    row = session.get(ControlRow, RESTORED)
    return read_row(row.value, Restored, owner="the site", what="restore", into=[]) if row is not None else None


def stays(session: Session, row: AssignmentRow, wanted: Assignment, slots: Mapping[str, SlotReport]) -> bool:
    """Is a device that has seen more than the site knows to be left as it is?

    Args:
        session: of the transaction.
        row: its assignment.
        wanted: the same, read.
        slots: what it reports.
    """
    found = read_restored(session)
    if found is None or not found.holds or row.issued_at > found.restored_at:
        return False
    said = {name: _Slot(slot.artifact, slot.version, slot.update) for name, slot in slots.items()}
    return bool(_differing(wanted.slots, said))


def _differing(wanted: Mapping[str, SlotAssignment], said: Mapping[str, _Slot]) -> list[str]:
    """The slots that would run something else if the device were told what is wanted. Pure."""
    return [
        name
        for name in sorted(wanted.keys() | said.keys())
        if _heads_for(said.get(name), wanted.get(name)) != (wanted[name].artifact if name in wanted else "")
    ]


def _heads_for(slot: _Slot | None, wanted: SlotAssignment | None) -> str:
    """The artifact that a slot serves, or is about to; one that was tried in vain is as good as what is served."""
    if slot is None:
        return ""
    update = slot.update
    if update is None or update.outcome in ("committed", "superseded"):
        return slot.artifact
    tried = wanted is not None and update.artifact == wanted.artifact
    return update.artifact if tried or update.outcome == "in-progress" else slot.artifact


def view_restored(session: Session) -> RestoredView:
    """The last restore, and the devices that stay as they are.

    Raises:
        ContractError: `not-found` for a site that never was restored.
    """
    found = read_restored(session)
    if found is None:
        raise ContractError("not-found", "This site was not restored from a backup.")
    went_on = _went_on(session, found)
    boards = [view for one in went_on.values() for view in one.views]
    return RestoredView(
        backup=found.backup, made_at=found.made_at, restored_at=found.restored_at, holds=found.holds,
        devices=len(went_on), went_on=boards[:MAX_NAMED],
    )  # fmt: skip


class _Board(NamedTuple):
    assignment: Assignment
    revision_seen: int
    views: list[WentOn]


def _went_on(session: Session, restored: Restored, only: Collection[str] = ()) -> dict[str, _Board]:
    """Devices that went on and run something else than the backup says; those of `only`, or all."""
    if not restored.holds:
        return {}
    query = sa.select(AssignmentRow.device, AssignmentRow.body, DeviceRow.revision_seen)
    query = query.join(DeviceRow, DeviceRow.id == AssignmentRow.device).where(
        AssignmentRow.issued_at <= restored.restored_at, DeviceRow.revision_seen >= AssignmentRow.revision
    )
    if only:
        query = query.where(among(session, AssignmentRow.device, only))
    rows = session.execute(query.order_by(AssignmentRow.device)).all()
    said = _said(session, [row.device for row in rows])
    found = {}
    for device, body, seen in rows:
        wanted = read_row(body, Assignment, owner=device, what="assignment", into=[])
        if wanted is None:
            continue  # it is set apart until it is mended
        slots = said.get(device, {})
        views = [_view(device, name, wanted, slots.get(name), seen) for name in _differing(wanted.slots, slots)]
        if views:
            found[device] = _Board(wanted, seen, views)
    return found


def _said(session: Session, devices: Collection[str]) -> dict[str, dict[str, _Slot]]:
    """Device → slot → what it says of it."""
    row = SlotStateRow
    query = sa.select(row.device, row.slot, row.artifact, row.version, row.last_update)
    found: dict[str, dict[str, _Slot]] = {}
    for device, slot, artifact, version, last in session.execute(query.where(among(session, row.device, devices))):
        update = read_row(last, UpdateReport, owner=device, what="last update", into=[]) if last else None
        found.setdefault(device, {})[slot] = _Slot(artifact, version, update)
    return found


def _view(device: str, name: str, wanted: Assignment, slot: _Slot | None, seen: int) -> WentOn:
    says = wanted.slots.get(name)
    return WentOn(
        device=device, slot=name, says=f"{says.model}@{says.version}" if says else "",
        runs=slot.version if slot else "", revision=wanted.revision, revision_seen=seen,
    )  # fmt: skip


def tell_anew(session: Session, devices: Collection[str]) -> TellReply:
    """Tell devices that went on what the site says, under numbers above those that they have seen.

    Args:
        session: of a write to the whole site.
        devices: which; all when empty, and whoever comes later is told without being asked about.

    Raises:
        ContractError: `not-found` for a site that never was restored, or a device that does not stay as it is.
    """
    found = read_restored(session)
    if found is None:
        raise ContractError("not-found", "This site was not restored from a backup.")
    went_on = _went_on(session, found, devices)
    if missing := sorted(set(devices) - went_on.keys()):
        raise ContractError(
            "not-found", f"{missing[0]!r} runs what the site says, or was not heard of since.",
            hint="See: edgelift restored.",
        )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for device, board in went_on.items():
        if not revisions_spent(device, board.assignment.revision, board.revision_seen):
            rows.append(
                renumbered(board.assignment, next_revision(board.assignment.revision, board.revision_seen))
            )
    if rows:
        session.execute(sa.update(AssignmentRow), rows)
    if not devices:
        note_restored(session, msgspec.structs.replace(found, holds=False))
    return TellReply(told=[row["device"] for row in rows], holds=bool(devices) and found.holds)
