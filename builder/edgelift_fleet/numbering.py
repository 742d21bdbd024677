"""Which revision an assignment gets, and whose word on revisions is believed. Pure.

A device never goes back to a lower revision, so one that has seen more than this control plane gave (which was restored
from a backup, or is a new one) gets the next number above that. Whoever has the device's token can say that it has
seen anything: believed up to the lower half of the numbers, so that the upper half is always left to follow, one by
one. Above, only what was given here is believed: such a word costs its device assignments for as long as it stands.
"""

from __future__ import annotations

from edgelift_contract.ids import LARGEST_COUNT
from edgelift_fleet.rows import SPENT, Fault

#: From here on a revision counts only if it was given here: half of what there is.
BELIEVED_BELOW = LARGEST_COUNT // 2


def next_revision(current: int, seen: int) -> int:
    """The revision after the one that stands (0 for none), for a device that has seen `seen`: see `revisions_spent`."""
    return max(current, seen) + 1


def revisions_spent(device: str, current: int, seen: int) -> Fault | None:
    """Why nothing can be assigned to a device that says what it has seen; None when it can.

    Args:
        device: its id.
        current: the revision of its assignment here; 0 for none.
        seen: the newest that it says it has seen.
    """
    if max(current, seen) < LARGEST_COUNT and (seen <= current or seen < BELIEVED_BELOW):
        return None
    message = f"{device} says that it has seen revision {seen}, which nobody has counted to: no assignment can follow that."
    hint = (
        f"Run: edgelift devices mend {device}. If it says so again, its state is damaged: stop its agent, remove"
        " state.db from its state folder, and start it; it goes on serving what it has committed."
    )
    return Fault("revision", SPENT, message, hint)
