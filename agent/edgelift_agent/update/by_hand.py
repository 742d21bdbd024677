"""Orders from a person at the device, or from a client by the repository extension: roll back, pin, load, unload.

They win over the assignment until they are taken back, and the host is told.
"""

from __future__ import annotations

from edgelift_agent.system.clock import Clock
from edgelift_agent.update.journal import Journal, SlotRow
from edgelift_agent.update.machine import Event, State
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updates import Updates
from edgelift_contract.errors import ContractError


class ByHand:
    """Carries out orders. Used from the worker's thread only."""

    def __init__(self, updates: Updates, journal: Journal, steps: Steps, clock: Clock) -> None:
        self._progress, self._assigned = updates.progress, updates.assigned
        self._journal, self._steps, self._clock = journal, steps, clock

    def roll_back(self, slot: str) -> str:
        """Go back to the previous artifact and pin the slot there; returns a sentence.

        Raises:
            ContractError: `not-found` or `conflict`; nothing was changed.
        """
        row = self._journal.slots.get(slot)
        if row is None or not row.artifact:
            raise ContractError("not-found", f"There is no slot {slot!r} with a model on this device.")
        update = self._journal.updates.get(slot)
        if update is not None and update.state == State.OBSERVING:
            row.pinned = True
            with self._journal.transaction():
                self._journal.save_slot(slot, row)
            self._progress.finish(slot, Event.FAILED, "pinned", "Rolled back by hand.")
            return f"{slot} goes back to {row.model}@{row.version} and is pinned there."
        if update is not None and update.state not in (State.IDLE, State.REPORTING):
            raise ContractError(
                "conflict", f"An update of {slot!r} is {update.state}.", hint="Try again when it has ended."
            )
        if not row.previous:
            raise ContractError("not-found", f"{slot!r} has no previous version on this device.")
        self._go_back_by_hand(slot, row)
        return f"{slot} serves {row.model}@{row.version} again and is pinned there."

    def _go_back_by_hand(self, slot: str, row: SlotRow) -> None:
        bad = f"{row.model}@{row.version}"
        with self._journal.transaction():
            row.artifact, row.previous = row.previous, row.artifact
            row.version, row.previous_version = row.previous_version, row.version
            row.generation += 1
            row.serving, row.pinned, row.since = row.generation, True, self._clock.now()
            self._journal.save_slot(slot, row)
            update = self._journal.updates.get(slot)
            if update is not None:
                update.outcome, update.code, update.message = (
                    "rolled-back",
                    "pinned",
                    f"{bad} was rolled back by hand.",
                )
                self._journal.save_update(slot, update)
        place = self._steps.slots.make(slot)
        old = place.current
        self._steps.restore(slot, row)
        if old is not None:
            self._steps.reaper.retire(place, old, 30.0)
        self._progress.tell(
            "rolled-back", slot, "pinned", f"{bad} was rolled back by hand to {row.model}@{row.version}."
        )
        self._progress.changed = True

    def order(self, order: str, slot: str, artifact: str) -> None:
        """The repository extension: `load` swaps to a local artifact, `unload` empties the slot until then.

        Only what is committed here may be loaded: the current artifact or the previous one, by its id. Either
        way the slot is pinned if that is not what is assigned, for the assignment would undo it at once.

        Raises:
            ContractError: `not-found` or `conflict`; nothing was changed.
        """
        row = self._journal.slots.get(slot)
        if row is None:
            raise ContractError("not-found", f"There is no slot {slot!r} on this device.")
        update = self._journal.updates.get(slot)
        if update is not None and update.state not in (State.IDLE, State.REPORTING):
            raise ContractError(
                "conflict", f"An update of {slot!r} is {update.state}.", hint="Try again when it has ended."
            )
        place = self._steps.slots.make(slot)
        if order == "unload":
            old, _ = place.swap(None)
            if old is not None:
                self._steps.reaper.retire(place, old, 30.0)
        elif artifact == row.previous and artifact:
            self._go_back_by_hand(slot, row)
        elif artifact in ("", row.artifact) and row.artifact:
            if place.current is None:
                self._steps.restore(slot, row)
        else:
            raise ContractError(
                "not-found",
                f"{artifact[:12] or 'Nothing'} is not on this device.",
                hint="Assign it from the control plane.",
            )
        self._progress.changed = True

    def pin(self, slot: str, *, pinned: bool) -> str:
        """Leave a slot alone, or take its assignment up again; returns a sentence.

        Raises:
            ContractError: `not-found`.
        """
        row = self._journal.slots.get(slot)
        if row is None:
            raise ContractError("not-found", f"There is no slot {slot!r} on this device.")
        with self._journal.transaction():
            row.pinned = pinned
            self._journal.save_slot(slot, row)
        self._progress.changed = True
        if not pinned:
            self._assigned.reconcile()
        return f"{slot} is {'pinned to' if pinned else 'free again; it serves'} {row.model}@{row.version}."
