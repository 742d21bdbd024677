"""Orders from a person at the device, or from a client by the repository extension: roll back, pin, load, unload.

They win over the assignment until they are taken back, and the host is told.
"""

from __future__ import annotations

from edgelift_agent.system.clock import Clock
from edgelift_agent.update.assigned import Assigned
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import Event, State
from edgelift_agent.update.progress import Progress
from edgelift_agent.update.records import SlotRow
from edgelift_contract.errors import ContractError


class ByHand:
    """Carries out orders. Used from the worker's thread only."""

    def __init__(
        self, journal: Journal, exchange: Exchange, progress: Progress, assigned: Assigned, clock: Clock
    ) -> None:
        self._journal, self._exchange, self._clock = journal, exchange, clock
        self._progress, self._assigned = progress, assigned

    def roll_back(self, slot: str) -> str:
        """Go back to the previous artifact and pin the slot there; returns a sentence.

        Raises:
            ContractError: `not-found` or `conflict`; nothing was changed.
            DeviceError: the disk's; nothing was changed.
        """
        row = self._journal.slots.get(slot)
        if row is None or not row.artifact:
            raise ContractError("not-found", f"There is no slot {slot!r} with a model on this device.")
        update = self._journal.updates.get(slot)
        if update is not None and update.state == State.OBSERVING:
            with self._journal.transaction():
                row.pinned = True
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
        self._progress.outcomes.add("rolled-back", "pinned")
        self._exchange.restore(slot, row)
        self._progress.emit_event(
            "rolled-back", slot, "pinned", f"{bad} was rolled back by hand to {row.model}@{row.version}."
        )
        self._progress.changed = True

    def order(self, order: str, slot: str, artifact: str) -> None:
        """The repository extension: `load` swaps to a local artifact, `unload` empties the slot until then.

        Only what is committed here may be loaded: the current artifact or the previous one, by its id. Either
        way the slot is pinned if that is not what is assigned, for the assignment would undo it at once.

        Raises:
            ContractError: `not-found` or `conflict`; nothing was changed.
            DeviceError: the disk's; nothing was changed.
        """
        row = self._journal.slots.get(slot)
        if row is None:
            raise ContractError("not-found", f"There is no slot {slot!r} on this device.")
        update = self._journal.updates.get(slot)
        if update is not None and update.state not in (State.IDLE, State.REPORTING):
            raise ContractError(
                "conflict", f"An update of {slot!r} is {update.state}.", hint="Try again when it has ended."
            )
        if order == "unload":
            self._exchange.unload(slot)
        elif artifact == row.previous and artifact:
            self._go_back_by_hand(slot, row)
        elif artifact in ("", row.artifact) and row.artifact:
            if self._exchange.current(slot) is None:
                self._exchange.restore(slot, row)
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
