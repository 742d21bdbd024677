"""From assignments to updates: compares what is wanted with what is, slot by slot, and begins what is missing.

What an assignment means for a slot is a pure rule in `plan`; here it is carried out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.update.exchange import Exchange, InFlight
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import Event, State, follow
from edgelift_agent.update.plan import (
    Action,
    Adopt,
    Again,
    Amend,
    Empty,
    Keep,
    Start,
    Supersede,
    asked_since,
    is_judged_alike,
    is_same,
    plan_slot,
)
from edgelift_agent.update.progress import Progress, name_of
from edgelift_agent.update.records import SlotRow, UpdateRow, dump_signed, signed_of
from edgelift_agent.update.steps import Steps
from edgelift_contract.assignment import Assignment, SlotAssignment, parse_assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.signed import Vouched
from edgelift_contract.telemetry import SwapRecord

log = logging.getLogger(__name__)


class Assigned:
    """Holds the newest assignment. Used from the worker's thread only."""

    def __init__(
        self,
        device: str,
        journal: Journal,
        steps: Steps,
        exchange: Exchange,
        clock: Clock,
        progress: Progress,
        degraded: Degraded,
        *,
        again_delays: Callable[[], Iterator[float]] = lambda: delays(60.0, 3600.0),
    ) -> None:
        """Bind; `again_delays` are those between tries of an update that something outside stops, seconds."""
        self._device, self._journal, self._steps, self._clock = device, journal, steps, clock
        self._exchange, self._progress, self._degraded = exchange, progress, degraded
        self._assignment: Assignment | None = None
        self._waiting: tuple[bytes, Mapping[str, Vouched]] | None = None
        #: The last `reconcile` did not come to its end, because the journal could not be written.
        self.unfinished = False
        self._again_delays = again_delays
        self._again: dict[str, tuple[Iterator[float], float]] = {}

    def resume(self) -> None:
        """Take up the assignment that the journal kept; one that can't be read is as good as none."""
        if not self._journal.meta.assignment:
            return
        try:
            self._assignment = parse_assignment(self._journal.meta.assignment, device=self._device)
        except ContractError as error:
            log.error("the kept assignment can't be read code=%s %s", error.code, error)

    @property
    def seen(self) -> tuple[int, bytes] | None:
        """Revision and bytes of the newest assignment, taken or waiting for the disk; None before the first."""
        if self._waiting is not None:
            data, _ = self._waiting
            return parse_assignment(data, device=self._device).revision, data
        meta = self._journal.meta
        return (meta.revision_seen, meta.assignment) if meta.assignment else None

    def take_waiting(self) -> None:
        """Accept the assignment that the journal could not take before.

        Raises:
            DeviceError: it still can't.
        """
        if self._waiting is not None:
            self.accept(*self._waiting)

    def accept(self, data: bytes, signed: Mapping[str, Vouched]) -> None:
        """Take an assignment's bytes, if it is newer than what was seen; the same one twice does nothing new.

        Args:
            data: the assignment.
            signed: artifact → what was signed of it; empty where nobody signs. What was signed of an artifact before
                holds on for as long as it is wanted.

        Raises:
            ContractError: it is malformed or for another device; nothing was changed.
            DeviceError: the journal can't take it now; it waits, see `take_waiting`.
        """
        assignment = parse_assignment(data, device=self._device)
        meta = self._journal.meta
        wanted = {slot.artifact for slot in assignment.slots.values()}
        known = {artifact: found for artifact, found in signed_of(meta).items() if artifact in wanted}
        kept = dump_signed(known | {artifact: found for artifact, found in signed.items() if artifact in wanted})
        if assignment.revision <= meta.revision_seen and self._assignment is not None:
            self._waiting = None
            if data == meta.assignment and kept != meta.signed:
                self._note_signed(data, signed, kept)
            return
        log.info("assignment revision=%d slots=%s", assignment.revision, ",".join(assignment.slots) or "none")
        self._waiting = (data, signed)
        with self._journal.transaction():
            meta.assignment, meta.revision_seen, meta.signed = data, assignment.revision, kept
            self._journal.save_meta()
        self._waiting = None
        self._assignment = assignment
        self._progress.changed = True
        self.reconcile()

    def _note_signed(self, data: bytes, signed: Mapping[str, Vouched], kept: bytes) -> None:
        """The assignment is the one that is held; signed is more of it than before, or something else."""
        self._waiting = (data, signed)
        with self._journal.transaction():
            self._journal.meta.signed = kept
            self._journal.save_meta()
        self._waiting = None
        self.reconcile()

    def reconcile(self) -> None:
        """Compare what is wanted with what is, slot by slot, and begin what is missing.

        Raises:
            DeviceError: the journal's; what was begun is begun.
        """
        assignment = self._assignment
        if assignment is None:
            return  # nothing is known of what is wanted: what is committed stays
        self.unfinished = True
        for slot in sorted(assignment.slots.keys() | self._journal.slots.keys()):
            self._reconcile_slot(slot, assignment.slots.get(slot))
        self._note_applied()
        self.unfinished = False

    def _reconcile_slot(self, slot: str, desired: SlotAssignment | None) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        action = self._plan(slot, desired, row)
        if not isinstance(action, Again | Amend) and action != Keep("under way"):
            self._degraded.end(f"update of {slot}")
        if isinstance(action, Supersede):
            self._supersede(slot)
        elif isinstance(action, Amend) and desired is not None:
            self._amend(slot, desired)
        elif isinstance(action, Empty):
            self._empty(slot)
        elif isinstance(action, Again):
            self._try_later(slot)
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

    def _amend(self, slot: str, desired: SlotAssignment) -> None:
        """What the update under way was told of its artifact was wrong, or is wanted otherwise now: no failure."""
        update = self._journal.updates[slot]
        revision = self._revision if asked_since(update, desired, self._revision) else update.revision
        self._progress.amended(slot, desired, revision, judged_alike=is_judged_alike(update.desired, desired))

    def _hurry(self, slot: str, desired: SlotAssignment) -> None:
        """Who asks again while a fetch waits for its next try has the next try now."""
        update = self._journal.updates[slot]
        waits = update.state == State.FETCHING and slot not in self._progress.running
        if waits and asked_since(update, desired, self._revision):
            self._progress.wait(slot, 0.0)

    def _try_later(self, slot: str) -> None:
        update = self._journal.updates[slot]
        self._degraded.begin(
            f"update of {slot}", update.code, f"{name_of(update)} waits: {update.message} It is tried again."
        )
        if slot not in self._again:
            self._again[slot] = (self._again_delays(), 0.0)
        waits, due = self._again[slot]
        if due <= self._clock.monotonic():
            wait_s = next(waits)
            self._again[slot] = (waits, self._clock.monotonic() + wait_s)
            log.info("slot=%s its update is tried again in %.0f s", slot, wait_s)

    def _is_to_try_again(self, slot: str, desired: SlotAssignment, row: SlotRow) -> bool:
        return isinstance(self._plan(slot, desired, row), Again)

    def _plan(self, slot: str, desired: SlotAssignment | None, row: SlotRow) -> Action:
        signed = desired is not None and desired.artifact in signed_of(self._journal.meta)
        return plan_slot(desired, row, self._journal.updates.get(slot), revision=self._revision, signed=signed)

    def again_in_s(self) -> float | None:
        """Seconds until `try_again` has something to do; None for never."""
        dues = [due for _, due in self._again.values()]
        return max(0.0, min(dues) - self._clock.monotonic()) if dues else None

    def try_again(self, *, now: bool = False) -> None:
        """Begin the updates anew that something outside stopped, where it is time.

        Args:
            now: all of them, because what stopped them has ended.
        """
        for slot, (waits, due) in list(self._again.items()):
            desired = self._assignment.slots.get(slot) if self._assignment else None
            row = self._journal.slots.get(slot) or SlotRow()
            if desired is None or not self._is_to_try_again(slot, desired, row):
                del self._again[slot]
            elif now or due <= self._clock.monotonic():
                self._again[slot] = (waits, 0.0)
                self._begin(slot, desired, row)

    def hurry(self) -> None:
        """What waits for another try has it now: what it waited for was brought in another way.

        Raises:
            DeviceError: the journal's.
        """
        for slot, update in self._journal.updates.items():
            if update.state == State.FETCHING and slot not in self._progress.running:
                self._progress.wait(slot, 0.0)
        self.try_again(now=True)

    @property
    def _revision(self) -> int:
        return self._assignment.revision if self._assignment is not None else 0

    def _begin(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        last = self._journal.updates.get(slot)
        revision = self._revision
        goes_on = last is not None and is_same(last.desired, desired) and not asked_since(last, desired, revision)
        attempts = last.attempts + 1 if last and goes_on and last.outcome != "superseded" else 1
        update = UpdateRow(desired, self._revision, attempts=attempts, outcome="in-progress")
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
        self._progress.in_flight[slot] = InFlight()
        self._progress.begun(slot)
        self._progress.wait(slot, 0.0)
        self._progress.changed = True
        log.info("slot=%s phase=%s update=%s try=%d", slot, update.state, name_of(update), attempts)

    def _adopt(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        """It serves already: this assignment is carried out without a swap."""
        update = UpdateRow(desired, self._revision, attempts=1, outcome="committed")
        update.finished_at = self._clock.now()
        with self._journal.transaction():
            self._journal.save_slot(slot, row)
            self._journal.save_update(slot, update)
        self._progress.changed = True

    def _refuse_pinned(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        update = UpdateRow(desired, self._revision, attempts=1, outcome="refused", code="pinned")
        update.message = f"The slot {slot!r} is pinned on the device to {row.model}@{row.version}."
        update.finished_at = self._clock.now()
        last = self._journal.updates.get(slot)
        if last is not None and (last.desired, last.code) == (desired, "pinned"):
            return
        with self._journal.transaction():
            self._journal.save_update(slot, update)
        self._progress.outcomes.add(update.outcome, update.code)
        self._progress.changed = True

    def _supersede(self, slot: str) -> None:
        if slot in self._progress.running:
            self._progress.cancelled.add(slot)  # the step under way gives up, or its result is dropped
        else:
            self._progress.superseded(slot)

    def _empty(self, slot: str) -> None:
        with self._journal.transaction():
            self._journal.drop_slot(slot)
        self._exchange.empty(slot)
        self._progress.emit_event("slot-emptied", slot, "", f"The slot {slot!r} is no longer assigned.")
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
