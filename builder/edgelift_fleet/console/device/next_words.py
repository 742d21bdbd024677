"""What a slot will do next, in words: from what it should run, what it runs, and how that goes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from edgelift_contract.report import UpdateReport
from edgelift_fleet.messages import SlotSummary

_UNDER_WAY = {
    "fetching": "Fetches {} now, then verifies it and runs its goldens before it serves.",
    "verifying": "Verifies {} now, then runs its goldens before it serves.",
    "staging": "Makes {} ready now, then runs its goldens before it serves.",
    "preflight": "Runs the goldens of {} now; what fails them never serves.",
    "swapping": "Swaps to {} now.",
    "observing": "Watches {}, which serves, through its probation; then keeps it or goes back by itself.",
    "committing": "Keeps {} for good: its probation went well.",
    "rolling-back": "Goes back from {} to what served before.",
    "reporting": "Reports how {} went.",
}


@dataclass(frozen=True)
class Ahead:
    """An open rollout that has the device.

    Attributes:
        id, release, slot, state, reason: of the rollout; `wave` of `waves` is under way.
        status: of the device in it, empty while it was not reached.
        opens_at: when the device's window opens, seconds since 1970: 0 where it has none or is open, infinity for never.
        starts_at: when the rollout begins, seconds since 1970; 0 once it has.
    """

    id: str
    release: str
    slot: str
    state: str
    reason: str = ""
    wave: int = 0
    waves: int = 0
    status: str = ""
    opens_at: float = 0.0
    starts_at: float = 0.0


def next_of(slot: SlotSummary, *, online: bool, ahead: Sequence[Ahead], zone: tzinfo, now: float) -> str:
    """What it will do next.

    Args:
        slot: as it reports, and what it should run.
        online: is the device there?
        ahead: open rollouts that have the device.
        zone: where the device stands.
        now: seconds since 1970.
    """
    if slot.state == "pinned":
        return (
            f"Nothing: somebody pinned it on the board. To have it follow again: edgelift-agent unpin {slot.slot}."
        )
    update = slot.update
    if update is not None and update.outcome == "in-progress" and update.phase in _UNDER_WAY:
        away = "" if online else " It was not there to tell since."
        return _UNDER_WAY[update.phase].format(_name(update)) + away
    wanted = slot.desired
    if wanted is not None and wanted.artifact != slot.artifact:
        return _wanted(slot, f"{wanted.model}@{wanted.version}", wanted.rollout, wanted.artifact, online=online)
    if (coming := next((one for one in ahead if one.slot == slot.slot and not _has(slot, one)), None)) is not None:
        return _coming(coming, zone, now)
    if wanted is None:
        left = "Empties the slot: nothing is assigned to it." if slot.artifact else "Nothing: nothing is assigned."
        return left if online or not slot.artifact else f"{left[:-1]}, once it is back."
    return "Nothing: it runs what it should."


def _name(update: UpdateReport) -> str:
    return f"{update.model}@{update.version}" if update.version else "the release"


def _has(slot: SlotSummary, rollout: Ahead) -> bool:
    return f"{slot.model}@{slot.version}" == rollout.release or rollout.status in (
        "committed", "failed", "restored", "left", "superseded", "let-go", "unsuited",
    )  # fmt: skip


def _wanted(slot: SlotSummary, release: str, rollout: str, artifact: str, *, online: bool) -> str:
    update = slot.update
    if update is not None and update.artifact == artifact and update.outcome in ("refused", "rolled-back"):
        serves = f"{slot.model}@{slot.version} serves on." if slot.version else "Nothing serves."
        times = f"{update.attempts} times" if update.attempts > 1 else "once"
        who = f"the rollout {rollout} says so" if rollout else "somebody assigns it again"
        return f"Nothing until {who}: it tried {release} {times} and gave it up ({update.code}). {serves}"
    if not online:
        return f"Fetches {release} once it is back."
    return f"Fetches {release}: it hears of it within moments over MQTT, or when it asks next over HTTP."


def _coming(one: Ahead, zone: tzinfo, now: float) -> str:
    of = f"the rollout {one.id}"
    if one.state == "paused":
        return f"Gets {one.release} once {of} goes on: it is paused. {one.reason}".rstrip()
    if one.state == "rolling-back":
        return f"Nothing: {of} is taking {one.release} back."
    if math.isinf(one.opens_at):
        return f"Nothing: {of} would bring {one.release}, but its window never opens long enough."
    if one.opens_at > now:
        return f"Fetches {one.release} when its window opens {moment(one.opens_at, zone, now)}, from its wave of {of} on."
    if one.starts_at > now:
        return f"Gets {one.release} by {of}, which begins {moment(one.starts_at, zone, now)}."
    place = f" (wave {one.wave} of {one.waves} is under way)" if one.wave else ""
    return f"Gets {one.release} when its wave of {of} comes{place}."


def moment(at: float, zone: tzinfo, now: float) -> str:
    """A moment on the device's own wall: `at 02:00 Europe/Vienna`, with its day where that isn't today's."""
    there, here = datetime.fromtimestamp(at, zone), datetime.fromtimestamp(now, zone)
    name = getattr(zone, "key", "") or "UTC"
    day = "" if there.date() == here.date() else f" on {there.day} {there:%B}"
    return f"at {there:%H:%M}{day} ({name})"
