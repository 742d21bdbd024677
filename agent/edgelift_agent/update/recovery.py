"""Starting and stopping: serve what is committed, report what was interrupted, note what is left behind.

What is committed serves first, whatever the disk says; a start that the journal could not take is noted when it can.
A crash-looping model can never keep a device down: every start is counted before anything is loaded, and an
artifact that the process died with too often, or that no longer verifies, gives way to the one before it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator

import msgspec

from edgelift_agent.artifact.store import DAMAGED
from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import RESUME, RESUME_CLEAN, State
from edgelift_agent.update.progress import Progress, name_of
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_agent.update.updates import as_known
from edgelift_contract.errors import DeviceError, EdgeliftError

log = logging.getLogger(__name__)

#: Unclean ends of the process in a row that a committed artifact may be the cause of.
MAX_STARTS = 2
#: What a runtime says of a model that it loaded before: something around it is different now.
NOT_NOW = frozenset({"load-failed"})
#: Delays before a committed artifact is tried again that this device could not load: first and longest, seconds.
RESTORE_AGAIN_S = (2.0, 300.0)


class Recovery:
    """The way into and out of an agent's life. Used from the worker's thread only.

    Attributes:
        noted: this start stands in the journal, so updates may go on.
    """

    def __init__(
        self,
        journal: Journal,
        exchange: Exchange,
        progress: Progress,
        clock: Clock,
        degraded: Degraded,
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        """Bind; `later(after_s, action)` does something once on the worker's thread."""
        self._journal, self._exchange, self._progress = journal, exchange, progress
        self._clock, self._degraded, self._later = clock, degraded, later
        self._delays: dict[str, Iterator[float]] = {}
        self.noted = False

    def start(self) -> None:
        """Count this start if the disk lets us, then serve what is committed."""
        try:
            self.note_start()
        except DeviceError as error:
            log.error("the start can't be noted code=%s %s", error.code, error)
        self.serve_missing()

    def serve_missing(self) -> None:
        """Serve what is committed in slots where nothing serves and nobody tries; records may become readable late."""
        for slot in list(self._journal.slots):
            if self._exchange.current(slot) is None and slot not in self._delays:
                self._serve_committed(slot)

    def note_start(self) -> None:
        """Count this start, and put what was interrupted where it goes on; does nothing when it is done.

        Raises:
            DeviceError: the disk's; nothing was changed.
        """
        if self.noted:
            return
        meta = self._journal.meta
        clean = meta.clean
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
        self.noted = True
        for name in self._journal.lost:
            self._progress.emit_event(
                "state-lost", "", "state-damaged", f"{name} could not be read and was left out."
            )

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

    def _serve_committed(self, slot: str) -> None:
        """Serve the committed artifact, or the one before it where that can't be."""
        row = msgspec.structs.replace(self._journal.slots[slot])
        if row.artifact and row.starts > MAX_STARTS and row.previous:
            row = self._give_up(
                slot, row, "crashed-in-service", f"The process ended {row.starts} times while it served."
            )
        while row.artifact:
            error = self._try(slot, row)
            if error is None:
                return
            if isinstance(error, DeviceError) or error.code in NOT_NOW:
                # This machine can't now: that is no reason to forget what is committed.
                if row.artifact == self._journal.slots[slot].artifact:
                    self._keep_trying(slot, row, error)
                row = _previous(row)
            else:
                row = self._give_up(slot, row, error.code, error.message)

    def _try(self, slot: str, row: SlotRow) -> EdgeliftError | None:
        try:
            self._exchange.restore(slot, row)
        except Exception as error:
            log.exception("slot=%s restore failed", slot)
            return as_known(error) or DeviceError("internal", f"{type(error).__name__}: {error}")
        return None

    def _keep_trying(self, slot: str, row: SlotRow, error: EdgeliftError) -> None:
        part = f"slot {slot}"
        self._degraded.begin(part, error.code, f"{row.model}@{row.version} can't be loaded: {error}")

        def again() -> None:
            now = self._journal.slots.get(slot)
            update = self._journal.updates.get(slot)
            current = self._exchange.current(slot)
            other = now is None or now.artifact != row.artifact or (update and update.state != State.IDLE)
            if other or (current is not None and current.key.artifact == row.artifact):
                self._degraded.end(part)
                return
            failed = self._try(slot, row)
            if failed is None:
                self._degraded.end(part)
                self._progress.changed = True
            else:
                self._later(next(self._delays[slot]), again)

        self._delays[slot] = delays(*RESTORE_AGAIN_S)
        self._later(next(self._delays[slot]), again)

    def _give_up(self, slot: str, row: SlotRow, code: str, message: str) -> SlotRow:
        """Commit to the previous artifact, or to none, because the committed one can't serve; gives the new row."""
        bad = f"{row.model}@{row.version}"
        after = _previous(row)
        if code in DAMAGED:
            after.lost = [row.artifact, *(one for one in row.lost if one != row.artifact)][:2]
        update = self._journal.updates.get(slot)
        try:
            with self._journal.transaction():
                if update is not None and update.desired.artifact == row.artifact:
                    update.outcome, update.code = "rolled-back", "disk-error" if code in DAMAGED else code
                    update.message = f"{bad} could not go on serving: {message}"
                    update.attempts = 0 if code in DAMAGED else update.desired.policy.max_attempts
                    self._journal.save_update(slot, update)
                self._journal.save_slot(slot, msgspec.structs.replace(after))
        except DeviceError as error:
            log.error("slot=%s going back can't be noted code=%s %s", slot, error.code, error)
        self._progress.emit_event("rolled-back", slot, code, f"{bad} could not go on serving: {message}")
        self._progress.changed = True
        return after

    def mark_stable(self) -> None:
        """The process has lived long enough: earlier ends are no longer held against what serves.

        Raises:
            DeviceError: the disk's; nothing depends on it.
        """
        self._journal.migrate()
        if any(row.starts for row in self._journal.slots.values()):
            with self._journal.transaction():
                for slot, row in self._journal.slots.items():
                    row.starts = 0
                    self._journal.save_slot(slot, row)

    def stop(self) -> None:
        """Note a clean stop; what is under way goes on after the next start."""
        if not self.noted:
            return
        for slot in list(self._progress.running):
            self._progress.cancelled.add(slot)
        try:
            with self._journal.transaction():
                for slot, update in self._journal.updates.items():
                    if update.state == State.OBSERVING:
                        in_flight = self._progress.in_flight.get(slot)
                        if in_flight is not None and in_flight.swapped_at is not None:
                            update.observed_s += self._clock.monotonic() - in_flight.swapped_at
                            self._journal.save_update(slot, update)
                self._journal.meta.clean = True
                self._journal.save_meta()
        except DeviceError as error:
            log.error("the clean stop can't be noted code=%s %s", error.code, error)


def _previous(row: SlotRow) -> SlotRow:
    """The row that commits to the artifact before."""
    return msgspec.structs.replace(
        row,
        artifact=row.previous,
        version=row.previous_version,
        previous="",
        previous_version="",
        starts=0,
        generation=row.generation + 1,
        serving=row.generation + 1,
    )
