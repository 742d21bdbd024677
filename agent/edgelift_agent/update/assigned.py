"""From assignments to updates: compares what is wanted with what is, slot by slot, and begins what is missing.

What an assignment means for a slot is a pure rule in `plan`; here it is carried out.
"""

from __future__ import annotations

import logging

from edgelift_agent.system.clock import Clock
from edgelift_agent.update.journal import Journal, SlotRow, UpdateRow
from edgelift_agent.update.machine import Event, State, follow
from edgelift_agent.update.plan import Adopt, Empty, Keep, Start, Supersede, asked_since, is_same, plan_slot
from edgelift_agent.update.progress import Progress, name_of
from edgelift_agent.update.steps import Live, Steps
from edgelift_contract.assignment import Assignment, SlotAssignment, parse_assignment
from edgelift_contract.telemetry import SwapRecord

log = logging.getLogger(__name__)


class Assigned:
    """Holds the newest assignment. Used from the worker's thread only."""

    def __init__(self, device: str, journal: Journal, steps: Steps, clock: Clock, progress: Progress) -> None:
        self._device, self._journal, self._steps, self._clock = device, journal, steps, clock
        self._progress = progress
        self._assignment = Assignment(schema=Assignment.SCHEMA, device=device, revision=0)

    def resume(self) -> None:
        """Take up the assignment that the journal kept."""
        if self._journal.meta.assignment:
            self._assignment = parse_assignment(self._journal.meta.assignment, device=self._device)

    def accept(self, data: bytes) -> None:
        """Take an assignment's bytes, if it is newer than what was seen; the same one twice does nothing.

        Raises:
            ContractError: it is malformed or for another device; nothing was changed.
        """
        assignment = parse_assignment(data, device=self._device)
        meta = self._journal.meta
        if assignment.revision <= meta.revision_seen and meta.assignment:
            return
        log.info("assignment revision=%d slots=%s", assignment.revision, ",".join(assignment.slots) or "none")
        with self._journal.transaction():
            meta.assignment, meta.revision_seen = data, assignment.revision
            self._journal.save_meta()
        self._assignment = assignment
        self._progress.changed = True
        self.reconcile()

    def reconcile(self) -> None:
        """Compare what is wanted with what is, slot by slot, and begin what is missing."""
        for slot in sorted(self._assignment.slots.keys() | self._journal.slots.keys()):
            self._reconcile_slot(slot, self._assignment.slots.get(slot))
        self._note_applied()

    def _reconcile_slot(self, slot: str, desired: SlotAssignment | None) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        action = plan_slot(desired, row, self._journal.updates.get(slot), revision=self._assignment.revision)
        if isinstance(action, Supersede):
            self._supersede(slot)
        elif isinstance(action, Empty):
            self._empty(slot)
        elif isinstance(action, Start) and desired is not None:
            self._begin(slot, desired, row)
        elif isinstance(action, Adopt) and desired is not None:
            self._adopt(slot, desired, row)
        elif (
            isinstance(action, Keep) and action.reason == "pinned" and desired and desired.artifact != row.artifact
        ):
            self._refuse_pinned(slot, desired, row)
        elif isinstance(action, Keep) and action.reason == "under way" and desired is not None:
            self._hurry(slot, desired)

    def _hurry(self, slot: str, desired: SlotAssignment) -> None:
        """Who asks again while a fetch waits for its next try has the next try now."""
        update = self._journal.updates[slot]
        waits = update.state == State.FETCHING and slot not in self._progress.running
        if waits and asked_since(update, desired, self._assignment.revision):
            self._progress.wait(slot, 0.0)

    def _begin(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        last = self._journal.updates.get(slot)
        revision = self._assignment.revision
        goes_on = last is not None and is_same(last.desired, desired) and not asked_since(last, desired, revision)
        attempts = last.attempts + 1 if last and goes_on and last.outcome != "superseded" else 1
        update = UpdateRow(desired, revision, attempts=attempts, outcome="in-progress")
        update.state = follow(State.IDLE, Event.ASSIGNED).value
        update.record = SwapRecord(
            at=0.0,
            slot=slot,
            generation_from=row.serving,
            generation_to=0,
            artifact_from=row.artifact,
            artifact_to=desired.artifact,
            version_from=row.version,
            version_to=desired.version,
        )
        with self._journal.transaction():
            self._journal.save_slot(slot, row)
            self._journal.save_update(slot, update)
        self._progress.cancelled.discard(slot)
        self._progress.live[slot] = Live()
        self._progress.wait(slot, 0.0)
        self._progress.changed = True
        log.info("slot=%s phase=%s update=%s try=%d", slot, update.state, name_of(update), attempts)

    def _adopt(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        """It serves already: this assignment is carried out without a swap."""
        update = UpdateRow(desired, self._assignment.revision, attempts=1, outcome="committed")
        update.finished_at = self._clock.now()
        with self._journal.transaction():
            self._journal.save_slot(slot, row)
            self._journal.save_update(slot, update)
        self._progress.changed = True

    def _refuse_pinned(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        update = UpdateRow(desired, self._assignment.revision, attempts=1, outcome="refused", code="pinned")
        update.message = f"The slot {slot!r} is pinned on the device to {row.model}@{row.version}."
        update.finished_at = self._clock.now()
        last = self._journal.updates.get(slot)
        if last is not None and (last.desired, last.code) == (desired, "pinned"):
            return
        with self._journal.transaction():
            self._journal.save_update(slot, update)
        self._progress.changed = True

    def _supersede(self, slot: str) -> None:
        if slot in self._progress.running:
            self._progress.cancelled.add(slot)  # the step under way gives up, or its result is dropped
        else:
            self._progress.superseded(slot)

    def _empty(self, slot: str) -> None:
        place = self._steps.slots.get(slot)
        with self._journal.transaction():
            self._journal.drop_slot(slot)
        old = place.swap(None)[0] if place else None
        if place is not None and old is not None:
            self._steps.reaper.retire(place, old, 30.0)
            self._steps.recorder.forget(old.key)
        self._steps.slots.remove(slot)
        self._progress.tell("slot-emptied", slot, "", f"The slot {slot!r} is no longer assigned.")
        self._steps.collect(self._journal.kept())
        self._progress.changed = True

    def _note_applied(self) -> None:
        meta = self._journal.meta
        busy = any(update.state != State.IDLE for update in self._journal.updates.values())
        if not busy and meta.revision_applied != meta.revision_seen:
            with self._journal.transaction():
                meta.revision_applied = meta.revision_seen
                self._journal.save_meta()
            self._progress.changed = True
