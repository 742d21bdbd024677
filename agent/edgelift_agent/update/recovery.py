"""Starting and stopping: serve what is committed, own up to what was interrupted, note what is left behind.

A crash-looping model can never keep a device down: every start is counted before anything is loaded, and an
artifact that the process died with too often, or that no longer verifies, gives way to the one before it.
"""

from __future__ import annotations

import logging
import uuid

from edgelift_agent.system.clock import Clock
from edgelift_agent.update.journal import Journal, SlotRow, UpdateRow
from edgelift_agent.update.machine import RESUME, RESUME_CLEAN, State
from edgelift_agent.update.progress import name_of
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updates import Updates
from edgelift_contract.errors import EdgeliftError

log = logging.getLogger(__name__)

#: Unclean ends of the process in a row that a committed artifact may be the cause of.
MAX_STARTS = 2
#: What is wrong with files on disk, not with the artifact: it is fetched again.
DAMAGED = frozenset({"missing-blob", "digest-mismatch", "size-mismatch"})


class Recovery:
    """The way into and out of `Updates`. Used from the worker's thread only."""

    def __init__(self, updates: Updates, journal: Journal, steps: Steps, clock: Clock) -> None:
        self._progress, self._assigned = updates.progress, updates.assigned
        self._journal, self._steps, self._clock = journal, steps, clock

    def start(self) -> None:
        """Serve what is committed, then go on with what was under way."""
        meta = self._journal.meta
        clean = meta.clean
        self._assigned.resume()
        with self._journal.transaction():
            meta.starts += 1
            meta.outbox = meta.outbox or uuid.uuid4().hex[:12]
            meta.clean = False
            self._journal.save_meta()
            for slot, row in self._journal.slots.items():
                row.starts = 0 if clean else row.starts + (not self._past_swap(slot))
                self._journal.save_slot(slot, row)
            for slot, update in self._journal.updates.items():
                self._resume(slot, update, clean=clean)
        for slot in list(self._journal.slots):
            self._restore(slot)
        self._assigned.reconcile()

    def _past_swap(self, slot: str) -> bool:
        update = self._journal.updates.get(slot)
        return update is not None and update.state in (State.SWAPPING, State.OBSERVING)

    def _resume(self, slot: str, update: UpdateRow, *, clean: bool) -> None:
        was = State(update.state)
        now = (RESUME_CLEAN if clean else RESUME)[was]
        if was is not State.ROLLING_BACK and now is State.ROLLING_BACK:
            last = update.attempts >= update.desired.policy.max_attempts
            update.code = "crashed-in-service" if last else "interrupted"
            update.message = f"The process ended while {name_of(update)} was {was.value} (try {update.attempts})."
            update.failed_in = was.value
            update.outcome = "rolled-back"
        if was is State.SWAPPING and now is State.SWAPPING:
            # The number may have been given out already: take a fresh one.
            self._progress.next_generation(slot)
        update.state = now.value
        self._journal.save_update(slot, update)

    def _restore(self, slot: str) -> None:
        row = self._journal.slots[slot]
        if row.artifact and row.starts > MAX_STARTS and row.previous:
            self._give_up(
                slot, row, "crashed-in-service", f"The process ended {row.starts} times while it served."
            )
            row = self._journal.slots[slot]
        while row.artifact:
            try:
                self._steps.restore(slot, row)
                return
            except EdgeliftError as error:
                log.exception("slot=%s restore failed code=%s", slot, error.code)
                self._give_up(slot, row, error.code, error.message)
                row = self._journal.slots[slot]

    def _give_up(self, slot: str, row: SlotRow, code: str, message: str) -> None:
        """Commit to the previous artifact, or to none, because the committed one can't serve."""
        bad = f"{row.model}@{row.version}"
        update = self._journal.updates.get(slot)
        with self._journal.transaction():
            if update is not None and update.desired.artifact == row.artifact:
                update.outcome, update.code = "rolled-back", "disk-error" if code in DAMAGED else code
                update.message = f"{bad} could not go on serving: {message}"
                update.attempts = 0 if code in DAMAGED else update.desired.policy.max_attempts
                self._journal.save_update(slot, update)
            row.artifact, row.version, row.starts = row.previous, row.previous_version, 0
            row.previous = row.previous_version = ""
            row.generation += 1
            row.serving = row.generation
            self._journal.save_slot(slot, row)
        self._progress.tell("rolled-back", slot, code, f"{bad} could not go on serving: {message}")
        self._progress.changed = True

    def mark_stable(self) -> None:
        """The process has lived long enough: earlier ends are no longer held against what serves."""
        if any(row.starts for row in self._journal.slots.values()):
            with self._journal.transaction():
                for slot, row in self._journal.slots.items():
                    row.starts = 0
                    self._journal.save_slot(slot, row)

    def stop(self) -> None:
        """Note a clean stop; what is under way goes on after the next start."""
        for slot in list(self._progress.running):
            self._progress.cancelled.add(slot)
        with self._journal.transaction():
            for slot, update in self._journal.updates.items():
                if update.state == State.OBSERVING:
                    live = self._progress.live.get(slot)
                    if live is not None and live.swapped_at is not None:
                        update.observed_s += self._clock.monotonic() - live.swapped_at
                        self._journal.save_update(slot, update)
            self._journal.meta.clean = True
            self._journal.save_meta()
