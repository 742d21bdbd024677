"""Where a device of a rollout stands, judged from what the rollout did with it and what it says. Pure.

A device has *committed* only when it says so of this rollout's artifact, for this rollout, at this revision or later,
serves it now, and nothing speaks against it. Anything less is not success. It is *back* when it has seen the assignment
that takes the release away and serves what it had before, or when it was never told of the release at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgelift_contract.report import UpdateReport
from edgelift_fleet.rollout.situation import DeviceStatus

_ANOTHER = "Another assignment took its place."
#: What a device has failed with that committed and serves something else.
LAPSED = "crashed-in-service"
#: So often a device may serve something else after it had committed, and serve it again. Then it has failed until it is
#: asked again: each time its wave soaks anew, and a device that comes and goes must not hold a rollout for ever.
MAX_LAPSES = 1


@dataclass(frozen=True)
class Standing:
    """Where a device stands, with the code and message of a failure, or what its commit rests on."""

    status: DeviceStatus
    code: str = ""
    message: str = ""
    committed_by: str = ""


@dataclass(frozen=True)
class Kept:
    """What a rollout keeps of a device that it reached: a row of `rollout_device`.

    Attributes:
        told_at: since when it can know of what it was assigned, seconds since 1970; 0 while it was never there.
        previous: id of the artifact that it had before; empty for none.
        held: a pause, or the end of its window, took back what it was assigned.
        tried: how often it was asked again after a failure.
        lapses: how often it served something else after it had committed, since it was last asked.
    """

    device: str
    wave: int
    artifact: str
    revision: int
    assigned_at: float
    told_at: float
    previous: str
    going_back: bool
    held: bool
    status: DeviceStatus
    status_at: float
    code: str
    message: str
    committed_by: str = ""
    tried: int = 0
    lapses: int = 0


@dataclass(frozen=True)
class Said:
    """What is known of the device now.

    Attributes:
        desired: artifact that its slot should run; empty for none.
        asked_by: the rollout that asked for that; empty for none.
        revision_seen: newest assignment that it has seen.
        serving: artifact that its slot serves, as reported; empty for none.
        update: the newest update that this rollout asked for, as reported.
        there: is it there now?
        heard: was it heard of since it was last assigned something?
        selected: does the rollout's cohort still have it?
        doubt: what speaks against a *committed*; empty for nothing.
        committed_by: what a believed one rests on.
        deadline_s: how long it may take from when it was told, seconds.
        listening_since: when the control plane could hear again after a time in which it could not, seconds since 1970.
        now: host's clock, seconds since 1970.
    """

    desired: str
    asked_by: str
    revision_seen: int
    serving: str
    update: UpdateReport | None
    there: bool = False
    heard: bool = False
    selected: bool = True
    deadline_s: float = 0.0
    listening_since: float = 0.0
    now: float = 0.0
    doubt: str = ""
    committed_by: str = ""


def judge_device(kept: Kept, said: Said, *, rollout: str, going_back: bool) -> Standing:
    """Where a device of a rollout stands.

    Args:
        kept: what the rollout did with it.
        said: what is known of it now.
        rollout: its id.
        going_back: is the rollout as a whole going back? Then who isn't going back yet stands as it stood.
    """
    if not kept.artifact:
        return Standing("unsuited", kept.code, kept.message)
    if going_back and not kept.going_back:
        return _as_it_stood(kept, said, rollout)
    if kept.status == "let-go":
        return Standing("let-go", kept.code, kept.message)
    if kept.going_back:
        return _on_its_way_back(kept, said, rollout)
    if kept.held:
        return _held(kept, said, rollout)
    if taken_over(said.desired, said.asked_by, rollout, kept.artifact):
        return Standing("superseded", message=_ANOTHER)
    standing = _on_its_way(kept, said)
    if said.selected:
        return standing
    before = f" It had {standing.status}." if standing.status in ("committed", "failed") else ""
    return Standing("left", standing.code, f"It is no longer selected.{before}")


def _on_its_way(kept: Kept, said: Said) -> Standing:
    update = said.update
    if update is None or update.artifact != kept.artifact or update.revision < kept.revision:
        return _not_begun(kept, said, "no answer before its deadline: it was told, and has not begun")
    if _failed(update):
        return Standing("failed", update.code, update.message or update.outcome)
    if update.outcome == "committed" and said.serving != kept.artifact:
        return Standing("failed", LAPSED, "It committed, but serves something else now.")
    if update.outcome == "committed" and kept.lapses > MAX_LAPSES:
        text = f"It committed, and has served something else {kept.lapses} times since; it serves it again."
        return Standing("failed", LAPSED, text)
    if update.outcome == "committed" and not said.doubt:
        return Standing("committed", committed_by=said.committed_by)
    if update.outcome == "superseded":
        return _not_begun(
            kept, said, "no answer before its deadline: it gave up for another assignment, and has not begun again"
        )
    doubt = f"It says committed; {said.doubt}." if update.outcome == "committed" else ""
    if _late(kept, said):
        return Standing("silent", "timed-out", doubt or "no answer before its deadline: it had begun")
    return Standing("updating", message=doubt)


def _not_begun(kept: Kept, said: Said, late: str) -> Standing:
    if not said.there:
        return Standing("offline")
    if _late(kept, said) and kept.status != "offline":  # who comes back only now has its time from now
        return Standing("silent", "timed-out", late)
    return Standing("waiting")


def _held(kept: Kept, said: Said, rollout: str) -> Standing:
    if taken_over(said.desired, said.asked_by, rollout, kept.previous, kept.artifact):
        return Standing("superseded", message=_ANOTHER)
    update = said.update
    if update and update.artifact == kept.artifact and _failed(update):
        # It had begun when the pause took it back, and says how that ended.
        return Standing("failed", update.code, update.message or update.outcome)
    return Standing("held" if said.selected else "left", kept.code, kept.message)


def _as_it_stood(kept: Kept, said: Said, rollout: str) -> Standing:
    gone = (
        taken_over(said.desired, said.asked_by, rollout, kept.previous, kept.artifact)
        if kept.held
        else said.desired != kept.artifact
    )
    if gone:
        return Standing("superseded", kept.code, _ANOTHER)
    return Standing(kept.status, kept.code, kept.message)


def _on_its_way_back(kept: Kept, said: Said, rollout: str) -> Standing:
    why = (kept.code, kept.message)
    if taken_over(said.desired, said.asked_by, rollout, kept.previous, kept.artifact):
        return Standing("superseded", kept.code, _ANOTHER)
    seen = said.revision_seen >= kept.revision
    if said.serving == kept.previous and (seen or never_told(kept, said)):
        return Standing("restored", *why)
    update = said.update
    if (
        seen
        and update
        and update.artifact == kept.previous
        and update.revision >= kept.revision
        and _failed(update)
    ):
        return Standing("failed", update.code, f"It could not go back: {update.message or update.outcome}")
    if not said.there:
        return Standing("offline", *why)
    if _late(kept, said) and kept.status != "offline":
        return Standing("silent", *why)
    return Standing("updating", *why)


def taken_over(desired: str, asked_by: str, rollout: str, *given: str) -> bool:
    """Was a slot assigned something else, or emptied by a person, since the rollout gave it one of `given`?

    Args:
        desired: artifact that the slot should run; empty for none.
        asked_by: the rollout that asked for that.
        rollout: this one's id.
        given: artifacts that this rollout may have assigned last; empty for none.
    """
    return asked_by != rollout if desired else "" not in given


def never_told(kept: Kept, said: Said) -> bool:
    """Can the device not know of what it was assigned? Then taking that back is all that there is to do."""
    return not kept.told_at and not said.heard and not said.there


def _failed(update: UpdateReport) -> bool:
    return update.outcome in ("refused", "rolled-back", "inconsistent")


def _late(kept: Kept, said: Said) -> bool:
    return said.now >= max(kept.assigned_at, kept.told_at, said.listening_since) + said.deadline_s
