"""How a rollout ended, in one or two sentences: what became of it, when, why, and on what its devices are now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edgelift_fleet.console.pages.gate_words import found, limit
from edgelift_fleet.console.words import many
from edgelift_fleet.messages import RolloutEvent, RolloutLook, RolloutView
from edgelift_fleet.rollout.looking import clock

_BACK = ("rolled-back", "wave-rolled-back")


def verdict(view: RolloutView, before: Collection[str]) -> str:
    """The verdict of a rollout that has ended, whose devices that are back have again what is in `before`."""
    at = clock(view.changed_at, view.now)
    if view.state == "done":
        return (
            f"Done at {at}: {view.committed:,} of {many(view.cohort, 'board')} serve {view.release}{_but(view)}."
        )
    if view.state == "cancelled":
        who = _by(_last(view.events, "cancelled"))
        return f"Cancelled at {at}{who}: {many(view.committed, 'board')} kept {view.release}{_but(view)}."
    if view.state in _BACK:
        return f"Rolled back in wave {max(view.wave, 1)} at {at}{_cause(view)}; {_had(view, before)}"
    return ""


def _but(view: RolloutView) -> str:
    parts = [
        f"{number:,} {word}"
        for word, number in (
            ("failed", view.failed), ("let go", view.counts.get("let-go", 0)),
            ("got something else meanwhile", view.counts.get("superseded", 0)),
            ("held back", view.counts.get("held", 0)), ("unsuited", view.counts.get("unsuited", 0)),
        )
        if number
    ]  # fmt: skip
    return f"; {', '.join(parts)}" if parts else ""


def _cause(view: RolloutView) -> str:
    """Why devices went back: what a gate found, a person's order, or what the controller said."""
    event = _last(view.events, "rolling-back")
    look = next((one for one in reversed(view.looks) if one.breach), None)
    if event is not None and event.who:
        return _by(event)
    if look is not None and event is not None and event.text.startswith("The gate"):
        return f": {_found(look)}"
    return f": {event.text.rstrip('.')}" if event is not None else ""


def _found(look: RolloutLook) -> str:
    if not look.figures.contrasts:
        return look.text
    worst = look.figures.contrasts[0]
    where = f" on {worst.hardware_class}" if worst.hardware_class else ""
    allowed = f"allowed {limit(worst)}" if worst.allowed else "more than its controls"
    return f"{worst.series} {found(worst)}{where}, {allowed}"


def _had(view: RolloutView, before: Collection[str]) -> str:
    """Who had it, and what they have now."""
    back, reached = view.counts.get("restored", 0), view.reached - view.counts.get("unsuited", 0)
    previous = (next(iter(before)) or "an empty slot") if len(before) == 1 else "what they had"
    if not reached:
        return "no board had it yet."
    had = f"{reached:,} of {many(view.cohort, 'board')} had been asked to take it"
    if back == reached:
        return f"{had}; all are back on {previous}."
    kept = f", {view.committed:,} of earlier waves keep it" if view.state == "wave-rolled-back" else ""
    return f"{had}; {back:,} are back on {previous}{kept}."


def _by(event: RolloutEvent | None) -> str:
    if event is None or not event.who:
        return ""
    return f" by {event.who}" + (f" (“{event.why}”)" if event.why else "")


def _last(events: Sequence[RolloutEvent], kind: str) -> RolloutEvent | None:
    return next((one for one in reversed(events) if one.kind == kind), None)
