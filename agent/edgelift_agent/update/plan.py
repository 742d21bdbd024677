"""What an assignment means for one slot: a pure rule over what is wanted, what is committed and what is under way.

Level-triggered: the answer depends on the latest wish only, so the same assignment twice is `Keep` twice. Asking for
the same once more (an operator who assigns it again) is another wish: what failed is begun afresh.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from edgelift_agent.update.machine import BEFORE_SWAP, State
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract.assignment import SlotAssignment

#: What is wrong around the agent, and ends some day: tried again, later and later, for as long as it is wanted.
OUTSIDE = frozenset({"disk-full", "disk-error", "read-only", "no-memory", "no-descriptors", "state-damaged"})
#: Failures that are worth another try of the same assignment at once: something outside the artifact was to blame.
PASSING = OUTSIDE | {"interrupted"}


@dataclass(frozen=True)
class Keep:
    """Nothing to do, and why."""

    reason: str


@dataclass(frozen=True)
class Start:
    """Begin an update."""


@dataclass(frozen=True)
class Again:
    """What was wrong lies outside: begin the same update once more, after a while."""


@dataclass(frozen=True)
class Adopt:
    """The wanted artifact serves already: take the assignment as carried out."""


@dataclass(frozen=True)
class Supersede:
    """End the update under way, then look again."""


@dataclass(frozen=True)
class Amend:
    """The update under way brings the wanted artifact, and builds on other words about it: it goes on with these."""


@dataclass(frozen=True)
class Wait:
    """The update under way can't be ended now; look again when it has."""


@dataclass(frozen=True)
class Empty:
    """Unload the slot: nothing is wanted there."""


Action = Keep | Start | Again | Adopt | Supersede | Amend | Wait | Empty


def plan_slot(
    desired: SlotAssignment | None, slot: SlotRow, update: UpdateRow | None, *, revision: int = 0,
    signed: bool = False,
) -> Action:  # fmt: skip
    """Decide.

    Args:
        desired: what the newest assignment wants here; None where it leaves the slot out.
        revision: of that assignment; stands in for when the slot was last asked for where the host doesn't say.
        slot: what is committed.
        update: the update under way or the last one; None before the first.
        signed: the wanted artifact is signed for this device.
    """
    if update is not None and update.state != State.IDLE:
        return _while_updating(desired, update)
    if slot.pinned:
        return Keep("pinned")
    if desired is None:
        return Empty() if slot.artifact or update is not None else Keep("empty")
    same = update is not None and is_same(update.desired, desired)
    if slot.artifact == desired.artifact:
        if desired.placebo:
            return _placebo(desired, update)
        return Keep("serving") if same and update and update.outcome == "committed" else Adopt()
    if same and update is not None and update.outcome not in ("superseded", "committed"):
        if asked_since(update, desired, revision):
            return Start()
        # "pinned" ended nothing but a wish: the pin is gone, or this line would not be reached.
        again = (
            update.code == "pinned"
            or (update.code == "not-signed" and signed)  # it was not then
            or (update.code in PASSING and update.attempts < desired.policy.max_attempts)
        )
        if again:
            return Start()
        return Again() if update.code in OUTSIDE else Keep("failed")
    return Start()


def _placebo(desired: SlotAssignment, update: UpdateRow | None) -> Action:
    """Swap to what serves already, once for each occasion; one that failed has had its turn."""
    had_its_turn = update is not None and update.desired.placebo == desired.placebo
    if not had_its_turn:
        return Start()
    return Keep("serving" if update is not None and update.outcome == "committed" else "failed")


def is_same(one: SlotAssignment, other: SlotAssignment) -> bool:
    """Do two assignments want the same, whenever they were asked for?"""
    return msgspec.structs.replace(one, asked=0) == msgspec.structs.replace(other, asked=0)


def is_judged_alike(one: SlotAssignment, other: SlotAssignment) -> bool:
    """Do two assignments of one artifact say the same of what is judged before the swap (VERIFYING)?"""
    return (one.model, one.version, one.policy.allow_older) == (
        other.model,
        other.version,
        other.policy.allow_older,
    )


def asked_since(update: UpdateRow, desired: SlotAssignment, revision: int) -> bool:
    """Was this asked for again after the update began? Then a failure of the earlier try is no answer to it."""
    return (desired.asked or revision) > update.revision


def _while_updating(desired: SlotAssignment | None, update: UpdateRow) -> Action:
    state = State(update.state)
    if desired is not None and desired.artifact == update.desired.artifact:
        return Amend() if state in BEFORE_SWAP and not is_same(update.desired, desired) else Keep("under way")
    if state in BEFORE_SWAP or state is State.OBSERVING:
        return Supersede()
    return Wait()
