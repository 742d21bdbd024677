"""What a person may order of a rollout now, and what will happen then. Pure."""

from __future__ import annotations

import msgspec

from edgelift_fleet.console.words import many
from edgelift_fleet.messages import RolloutView
from edgelift_fleet.rollout.commands import Command, allowed
from edgelift_fleet.rollout.plan import Plan

_IN_ORDER: tuple[Command, ...] = ("pause", "resume", "approve", "rollback", "cancel", "let-go")


class OrderOffer(msgspec.Struct, frozen=True):
    """A command: what its button says, and what will happen; `wave` is the one that an approval is for, `devices`: does it
    ask for their names? `danger`: it takes something away.
    """

    command: str
    button: str
    text: str
    wave: int = 0
    devices: bool = False
    danger: bool = False


def offers(plan: Plan | None, shown: RolloutView, approved: int) -> list[OrderOffer]:
    """What is to be offered of a rollout.

    Args:
        plan: None where it can't be read.
        shown: as it stands.
        approved: how many waves a person has approved.
    """
    may = set(allowed(shown.state))
    made = [_offer(command, plan, shown, approved) for command in _IN_ORDER if command in may]
    return [one for one in made if one is not None]


def _offer(command: Command, plan: Plan | None, shown: RolloutView, approved: int) -> OrderOffer | None:
    match command:
        case "pause":
            return OrderOffer(
                command,
                "Pause",
                "No further wave begins, and what was assigned and not begun is taken back. What serves it, keeps it.",
            )
        case "resume":
            return OrderOffer(
                command, "Resume", "It goes on where it stopped. A wave that its gate stopped is compared no more."
            )
        case "approve":
            wave = max(approved, shown.wave) + 1
            if plan is None or not plan.approval or wave > len(plan.waves):
                return None
            return OrderOffer(
                command,
                f"Approve wave {wave}",
                f"Wave {wave} begins by itself, once the one before it has passed.",
                wave,
            )
        case "rollback":
            if shown.state in ("rolled-back", "rolling-back"):
                return None
            reached = shown.reached - sum(
                shown.counts.get(word, 0) for word in ("restored", "superseded", "unsuited")
            )
            if not reached and shown.state not in ("running", "paused"):
                return None
            back = "gets back what it had" if reached == 1 else "get back what they had"
            text = f"{many(reached, 'device')} {back}, and the rollout ends."
            return OrderOffer(command, "Roll back", text, danger=True)
        case "cancel":
            text = "It ends as it stands: nothing more is assigned, and nothing is taken back."
            return OrderOffer(command, "Cancel", text, danger=True)
        case "let-go":
            awaited = sum(
                shown.counts.get(word, 0) for word in ("offline", "failed", "silent", "updating", "waiting")
            )
            if not awaited:
                return None
            text = "These devices count no more and are awaited no more; what they were assigned stays assigned."
            return OrderOffer(command, "Let devices go", text, devices=True)
