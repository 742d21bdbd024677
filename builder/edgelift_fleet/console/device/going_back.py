"""Which version a slot can go back to: the one that it ran just before, if the release still may be given to it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_fleet.assignments import pick
from edgelift_fleet.console.device.seen import WayBack
from edgelift_fleet.devices import get_device
from edgelift_fleet.messages import HistoryEntry, SlotSummary

#: A release that was served before may be older than the one that serves.
POLICY = Policy(allow_older=True)


def way_back(session: Session, device: str, slot: SlotSummary, history: Sequence[HistoryEntry]) -> WayBack:
    """The version before, and whether the control plane would assign it."""
    release, refused = before(slot, history)
    if not release or refused:
        return WayBack(release, refused)
    try:
        pick(session, get_device(session, device), release, POLICY)
    except ContractError as error:
        return WayBack(release, f"{error.message} {error.hint}".strip())
    return WayBack(release)


def before(slot: SlotSummary, history: Sequence[HistoryEntry]) -> tuple[str, str]:
    """Its release, and why it can't be had. Of a slot that wants something else than it serves it is what serves. Pure."""
    if slot.state == "pinned":
        return (
            "",
            f"It is pinned on the board, whatever is assigned: edgelift-agent unpin {slot.slot} there first.",
        )
    if slot.desired is not None and slot.version and slot.desired.artifact != slot.artifact:
        return f"{slot.model}@{slot.version}", ""
    kept = [
        entry.update
        for entry in history
        if entry.slot == slot.slot and entry.update.outcome == "committed" and entry.update.version
    ]
    found = next((one for one in kept if one.artifact != slot.artifact), None)
    if not slot.artifact or found is None:
        return "", "It has run nothing else before."
    return f"{found.model}@{found.version}", ""
