"""When each part of an update was, by the host's clock. Pure.

A device tells how long each phase took, by a clock that nobody sets, and when it ended, by one that may say 1970. So the
phases are laid end to end back from the end, and the end stands where the device's clock says, if it can be: after the
host assigned it, by as much as the phases took, and before the host heard of it. Where it can't be, only the time
between the end and the report counts of that clock, and it is said by how much it was moved.
"""

from __future__ import annotations

from typing import NamedTuple

from edgelift_fleet.untold import EndedUpdate

#: Clocks that are right differ by no more than this, seconds.
ALIKE_S = 1.0
#: Phases in the order in which they follow each other.
PHASES = (
    "fetching", "verifying", "staging", "preflight", "swapping", "observing", "rolling-back", "committing", "reporting",
)  # fmt: skip


class PlacedPhase(NamedTuple):
    """A phase of an update; seconds since 1970, host's clock."""

    phase: str
    start: float
    end: float


class UpdateInTime(NamedTuple):
    """An update in time; seconds since 1970, host's clock.

    Attributes:
        start, end: of the whole.
        begun: when the device took it up.
        steps: its phases, end to end from `begun` to `end`; empty where the device doesn't tell them.
        moved_s: by how much the device's clock was put right; 0 where it was believed.
        squeezed: the phases are said to have taken longer than there was time, and were made to fit.
    """

    start: float
    begun: float
    end: float
    steps: list[PlacedPhase]
    moved_s: float = 0.0
    squeezed: bool = False


def place(ended: EndedUpdate) -> UpdateInTime:
    """An update in time: nothing of it lies before it was assigned or after it was heard of."""
    took = {phase: ended.update.took_s[phase] for phase in PHASES if phase in ended.update.took_s}
    whole_s = sum(took.values())
    # A try after the first begins by itself: the assignment was the first one's.
    assigned_at = ended.assigned_at if ended.update.attempts == 1 else 0.0
    latest = max(ended.received_at, assigned_at)
    earliest = min(latest, assigned_at + whole_s) if assigned_at else 0.0
    end, moved_s = _end(ended, earliest, latest)
    floor = assigned_at or max(0.0, end - whole_s)
    begun = max(floor, end - whole_s) if took else min(max(floor, ended.first_at), end)
    squeezed = whole_s > 0 and end - begun < whole_s - ALIKE_S
    scale = (end - begun) / whole_s if whole_s > 0 else 0.0
    steps, at = [], begun
    for phase, seconds in took.items():
        until = min(end, at + seconds * scale)
        steps.append(PlacedPhase(phase, at, until))
        at = until
    if steps:
        steps[-1] = steps[-1]._replace(end=end)  # sums of fractions are no more exact than that
    return UpdateInTime(assigned_at or begun, begun, end, steps, moved_s, squeezed)


def _end(ended: EndedUpdate, earliest: float, latest: float) -> tuple[float, float]:
    """When it ended, and by how much the device's clock was moved for that."""
    said = ended.update.finished_at
    if not said:
        return latest, 0.0
    # A report may have been long on its way: that a clock disagrees with when it came says nothing by itself.
    follows = bool(earliest) or said >= ended.first_at - ALIKE_S
    agrees = abs(ended.received_at - ended.said_at) <= ALIKE_S
    if earliest - ALIKE_S <= said <= latest + ALIKE_S and (follows or agrees):
        return min(max(said, earliest), latest), 0.0
    before_s = max(0.0, ended.said_at - said)  # by one clock, however wrong it is
    end = min(max(ended.received_at - before_s, earliest), latest)
    return end, end - said
