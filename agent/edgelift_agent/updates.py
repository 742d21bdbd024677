"""Drives every slot's update through the machine: journal first, then act, then journal what came of it.

Starting after a crash is `recovery`'s business, orders from a person `by_hand`'s.

One instance, used from the worker's thread only. Long steps run on the pool and come back through `post`;
nothing here blocks, so a breach in one slot is acted on while another slot downloads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

import msgspec

from edgelift_agent.backoff import delays
from edgelift_agent.clock import Clock
from edgelift_agent.fetch import Superseded
from edgelift_agent.journal import Journal, SlotRow, UpdateRow
from edgelift_agent.machine import Event, State, follow
from edgelift_agent.outbox import Notice, Outbox
from edgelift_agent.plan import Adopt, Empty, Keep, Start, Supersede, plan_slot
from edgelift_agent.probation import Served, judge
from edgelift_agent.steps import Done, Live, Steps, resident_bytes
from edgelift_contract.assignment import Assignment, SlotAssignment, parse_assignment
from edgelift_contract.errors import DeviceError, EdgeliftError, TransportError
from edgelift_contract.histogram import Histogram
from edgelift_contract.report import Outcome
from edgelift_contract.telemetry import Event as TelemetryEvent
from edgelift_contract.telemetry import SwapRecord

log = logging.getLogger(__name__)

#: How often a probation is judged, seconds: a breach is undone within one second.
JUDGE_EVERY_S = 0.5
#: How long to wait before trying again to write a journal that could not be written.
JOURNAL_RETRY_S = 2.0
MAX_ROLLBACKS = 3
#: How long a report waits for the old generation to go, seconds; after that the record says what it knows.
RETIRE_WAIT_S = 2.0


class Updates:
    """All updates of the device."""

    def __init__(
        self,
        device: str,
        journal: Journal,
        steps: Steps,
        clock: Clock,
        *,
        pool: Executor,
        post: Callable[[Callable[[], None]], None],
        outbox: Outbox,
        retry_delays: Callable[[], Iterator[float]] = delays,
    ) -> None:
        """Bind the parts.

        Args:
            device: this device's id.
            journal: records, written before every act.
            steps: what each state does.
            clock: time.
            pool: runs long steps.
            post: hands a callable to the worker's thread.
            outbox: takes swap records and events for the host, in the journal's own transactions.
            retry_delays: delays between tries of a fetch, seconds.
        """
        self._device, self._journal, self._steps, self._clock = device, journal, steps, clock
        self._pool, self._post, self._outbox, self._retry_delays = pool, post, outbox, retry_delays
        self.live: dict[str, Live] = {}
        self.running: set[str] = set()
        self._due: dict[str, float] = {}
        self._delays: dict[str, Iterator[float]] = {}
        self.cancelled: set[str] = set()
        self.assignment = Assignment(schema=Assignment.SCHEMA, device=device, revision=0)
        self.changed = True

    def rows(self) -> list[UpdateRow]:
        """The updates, under way and past."""
        return list(self._journal.updates.values())

    # --- assignments

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
        self.assignment = assignment
        self.changed = True
        self.reconcile()

    def reconcile(self) -> None:
        """Compare what is wanted with what is, slot by slot, and begin what is missing."""
        for slot in sorted(self.assignment.slots.keys() | self._journal.slots.keys()):
            self._reconcile_slot(slot, self.assignment.slots.get(slot))
        self._note_applied()

    def _reconcile_slot(self, slot: str, desired: SlotAssignment | None) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        action = plan_slot(desired, row, self._journal.updates.get(slot))
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

    def _begin(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        last = self._journal.updates.get(slot)
        attempts = last.attempts + 1 if last and last.desired == desired and last.outcome != "superseded" else 1
        update = UpdateRow(desired, self.assignment.revision, attempts=attempts, outcome="in-progress")
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
        self._delays.pop(slot, None)
        self.cancelled.discard(slot)
        self.live[slot] = Live()
        self._due[slot] = 0.0
        self.changed = True
        log.info("slot=%s phase=%s update=%s try=%d", slot, update.state, name_of(update), attempts)

    def _adopt(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        """It serves already: this assignment is carried out without a swap."""
        update = UpdateRow(desired, self.assignment.revision, attempts=1, outcome="committed")
        update.finished_at = self._clock.now()
        with self._journal.transaction():
            self._journal.save_slot(slot, row)
            self._journal.save_update(slot, update)
        self.changed = True

    def _refuse_pinned(self, slot: str, desired: SlotAssignment, row: SlotRow) -> None:
        update = UpdateRow(desired, self.assignment.revision, attempts=1, outcome="refused", code="pinned")
        update.message = f"The slot {slot!r} is pinned on the device to {row.model}@{row.version}."
        update.finished_at = self._clock.now()
        last = self._journal.updates.get(slot)
        if last is not None and (last.desired, last.code) == (desired, "pinned"):
            return
        with self._journal.transaction():
            self._journal.save_update(slot, update)
        self.changed = True

    def _supersede(self, slot: str) -> None:
        update = self._journal.updates[slot]
        if slot in self.running:
            self.cancelled.add(slot)  # the step under way gives up, or its result is dropped
            return
        self.finish_step(slot, Event.SUPERSEDED, "superseded", f"A newer assignment replaced {name_of(update)}.")

    def _empty(self, slot: str) -> None:
        place = self._steps.slots.get(slot)
        with self._journal.transaction():
            self._journal.drop_slot(slot)
        old = place.swap(None)[0] if place else None
        if place is not None and old is not None:
            self._steps.reaper.retire(place, old, 30.0)
            self._steps.recorder.forget(old.key)
        self._steps.slots.remove(slot)
        self.tell("slot-emptied", slot, "", f"The slot {slot!r} is no longer assigned.")
        self._collect()
        self.changed = True

    def _note_applied(self) -> None:
        meta = self._journal.meta
        busy = any(update.state != State.IDLE for update in self._journal.updates.values())
        if not busy and meta.revision_applied != meta.revision_seen:
            with self._journal.transaction():
                meta.revision_applied = meta.revision_seen
                self._journal.save_meta()
            self.changed = True

    # --- the machine

    def tick(self) -> float | None:
        """Run every step that is due; returns seconds until the next one, None when nothing is under way."""
        for slot, update in list(self._journal.updates.items()):
            state = State(update.state)
            while state is not State.IDLE and slot not in self.running and self._is_due(slot):
                before = state
                self._act(slot, update, state)
                update = self._journal.updates.get(slot, update)
                state = State(update.state)
                if state is before:
                    break
        waits = [
            max(0.0, self._due.get(slot, 0.0) - self._clock.monotonic())
            for slot, update in self._journal.updates.items()
            if update.state != State.IDLE and slot not in self.running
        ]
        return min(waits) if waits else None

    def _is_due(self, slot: str) -> bool:
        return self._clock.monotonic() >= self._due.get(slot, 0.0)

    def _act(self, slot: str, update: UpdateRow, state: State) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        live = self.live.setdefault(slot, Live())
        live.cancelled = lambda: slot in self.cancelled
        floors = dict(self._journal.meta.floors)
        steps = self._steps
        if state is State.OBSERVING:
            self._observe(slot, update, live)
        elif state is State.COMMITTING:
            self._guard(slot, state, lambda: self._commit(slot, update, row, live))
        elif state is State.REPORTING:
            self._guard(slot, state, lambda: self._report(slot, update))
        else:
            work: dict[State, Callable[[], Done]] = {
                State.FETCHING: lambda: steps.fetch(slot, update, live),
                State.VERIFYING: lambda: steps.verify(slot, update, floors),
                State.STAGING: lambda: steps.stage(slot, update),
                State.PREFLIGHT: lambda: steps.preflight(slot, update),
                State.SWAPPING: lambda: steps.swap(slot, update, row, live),
                State.ROLLING_BACK: lambda: steps.roll_back(slot, row, live),
            }
            self._run(slot, state, work[state])

    def _run(self, slot: str, state: State, work: Callable[[], Done]) -> None:
        """Run a step on the pool; its end comes back to the worker's thread."""
        self.running.add(slot)

        def run() -> None:
            try:
                done, error = work(), None
            except BaseException as caught:  # noqa: BLE001 - handed to the worker's thread, which judges it
                done, error = None, caught
            self._post(lambda: self._ended(slot, state, done, error))

        self._pool.submit(run)

    def _ended(self, slot: str, state: State, done: Done | None, error: BaseException | None) -> None:
        self.running.discard(slot)
        update = self._journal.updates[slot]
        if slot in self.cancelled and state in (State.FETCHING, State.VERIFYING, State.STAGING, State.PREFLIGHT):
            self.cancelled.discard(slot)
            self.finish_step(
                slot, Event.SUPERSEDED, "superseded", f"A newer assignment replaced {name_of(update)}."
            )
            return
        self.cancelled.discard(slot)
        if done is not None:
            update.fetched_bytes += done.fetched_bytes
            if update.record is not None and done.record:
                update.record = msgspec.structs.replace(update.record, **done.record)
            self.finish_step(slot, Event.DONE)
        elif isinstance(error, Superseded):
            self.finish_step(
                slot, Event.SUPERSEDED, "superseded", f"A newer assignment replaced {name_of(update)}."
            )
        elif isinstance(error, TransportError) and state is State.FETCHING:
            self._retry_later(slot, update, error)
        else:
            self._failed(slot, state, error)

    def _guard(self, slot: str, state: State, work: Callable[[], None]) -> None:
        try:
            work()
        except EdgeliftError as error:
            self._failed(slot, state, error)

    def _failed(self, slot: str, state: State, error: BaseException | None) -> None:
        known = error if isinstance(error, EdgeliftError) else None
        code = known.code if known else "internal"
        message = known.message if known else f"A fault in edgelift: {type(error).__name__}: {error}"
        if known is None:
            log.error("slot=%s phase=%s fault", slot, state.value, exc_info=error)
        self.finish_step(slot, Event.FAILED, code, message)

    def _retry_later(self, slot: str, update: UpdateRow, error: TransportError) -> None:
        wait_s = next(self._delays.setdefault(slot, self._retry_delays()))
        log.warning("slot=%s phase=fetching code=%s retry_in_s=%.1f %s", slot, error.code, wait_s, error.message)
        self._due[slot] = self._clock.monotonic() + wait_s
        if (update.code, update.message) != (error.code, error.message):
            update.code, update.message = error.code, error.message
            with self._journal.transaction():
                self._journal.save_update(slot, update)
            self.changed = True

    def finish_step(
        self, slot: str, event: Event, code: str = "", message: str = "", notices: Sequence[Notice] = ()
    ) -> None:
        """Journal the state that follows; only then may its step act."""
        update = self._journal.updates[slot]
        state = State(update.state)
        after = follow(state, event)
        if event is Event.DONE and state is State.FETCHING:
            update.code = update.message = ""  # the link's troubles are over
        if event is not Event.DONE:
            self._note_failure(update, state, event, code, message)
            if state is State.ROLLING_BACK and update.rollbacks >= MAX_ROLLBACKS:
                update.outcome, after = "inconsistent", State.REPORTING
        update.state = after.value
        self._due[slot] = self._clock.monotonic() + (1.0 if state is after else 0.0)
        self.changed = True
        outcome = event.value if event is not Event.FAILED else f"failed code={code}"
        log.info(
            "slot=%s phase=%s outcome=%s next=%s update=%s",
            slot,
            state.value,
            outcome,
            after.value,
            name_of(update),
        )
        self._persist(slot, update, state, after, notices)

    def _persist(
        self, slot: str, update: UpdateRow, state: State, after: State, notices: Sequence[Notice]
    ) -> None:
        try:
            with self._journal.transaction():
                if after is not state and after in (State.SWAPPING, State.ROLLING_BACK):
                    self.next_generation(slot)
                if state is State.ROLLING_BACK and after is State.REPORTING:
                    self._settle_serving(slot)
                self._outbox.insert(notices)
                self._journal.save_update(slot, update)
        except DeviceError as error:
            log.error("slot=%s the journal can't be written code=%s %s", slot, error.code, error.message)
            if after is State.ROLLING_BACK or state is State.ROLLING_BACK:
                # Undoing may not wait for the disk: what the journal says now leads to a rollback as well.
                self._journal.updates[slot] = update
            else:
                self._due[slot] = self._clock.monotonic() + JOURNAL_RETRY_S

    def _note_failure(self, update: UpdateRow, state: State, event: Event, code: str, message: str) -> None:
        if state is State.ROLLING_BACK:
            update.rollbacks += 1
            update.message = f"{update.message} Rolling back failed: {message}"[:2000]
            return
        if state is State.REPORTING:
            return
        update.code, update.message, update.failed_in = code, message[:2000], state.value
        swapped = state in (State.SWAPPING, State.OBSERVING, State.COMMITTING)
        outcome: Outcome = "rolled-back" if swapped else "refused"
        update.outcome = "superseded" if event is Event.SUPERSEDED else outcome

    def next_generation(self, slot: str) -> None:
        """Give out the slot's next number; inside a transaction."""
        row = self._journal.slots.get(slot) or SlotRow()
        row.generation += 1
        self._journal.save_slot(slot, row)

    def _settle_serving(self, slot: str) -> None:
        """After a rollback: the number under which the committed artifact really serves."""
        row = self._journal.slots[slot]
        place = self._steps.slots.get(slot)
        if place is not None and place.current is not None:
            row.serving = place.current.number
            self._journal.save_slot(slot, row)

    # --- probation, commit, report

    def _observe(self, slot: str, update: UpdateRow, live: Live) -> None:
        place = self._steps.slots.get(slot)
        current = place.current if place else None
        if current is None or live.swapped_at is None:
            self.finish_step(slot, Event.FAILED, "swap-failed", "The new generation is gone.")
            return
        recorder = self._steps.recorder
        served = recorder.served(current.key)
        before = recorder.served(live.standby.key) if live.standby else self._before(update)
        elapsed_s = update.observed_s + self._clock.monotonic() - live.swapped_at
        update.requests, update.errors = served.requests, served.errors
        verdict = judge(served, before, update.desired.policy, elapsed_s)
        if verdict.kind == "wait":
            left = update.desired.policy.probation_s - elapsed_s
            self._due[slot] = self._clock.monotonic() + max(0.0, min(JUDGE_EVERY_S, left))
            return
        self._note_after(update, served)
        if verdict.kind == "pass":
            self.finish_step(slot, Event.DONE)
        else:
            self.finish_step(slot, Event.FAILED, verdict.code, verdict.message)

    @staticmethod
    def _before(update: UpdateRow) -> Served | None:
        """In `park` mode the old generation is gone; what it served stands in the swap record."""
        record = update.record
        if record is None or record.before_us is None:
            return None
        return Served(total_us={record.before_throttled > 0.5: Histogram.from_data(record.before_us)})

    @staticmethod
    def _note_after(update: UpdateRow, served: Served) -> None:
        merged = Histogram()
        for histogram in served.total_us.values():
            merged.merge(histogram)
        if update.record is not None and merged.count:
            update.record = msgspec.structs.replace(update.record, after_us=merged.to_data())

    def _commit(self, slot: str, update: UpdateRow, row: SlotRow, live: Live) -> None:
        desired = update.desired
        place = self._steps.slots.get(slot)
        current = place.current if place else None
        with self._journal.transaction():
            if row.artifact != desired.artifact:
                row.previous, row.previous_version = row.artifact, row.version
                row.artifact, row.model, row.version = desired.artifact, desired.model, desired.version
                row.since, row.starts = self._clock.now(), 0
                row.serving = current.number if current else row.generation
                self._journal.save_slot(slot, row)
            manifest = self._steps.store.manifest(desired.artifact)
            floors = self._journal.meta.floors
            floors[manifest.model] = max(floors.get(manifest.model, 0), manifest.release_counter)
            if desired.policy.allow_older:
                floors[manifest.model] = manifest.release_counter
            self._journal.save_meta()
            update.outcome = "committed"
            self._journal.save_update(slot, update)
        standby, live.standby = live.standby, None
        if place is not None and standby is not None:
            live.retired_at = self._clock.monotonic()
            gone = self._drained(slot, standby.number, live)
            self._steps.reaper.retire(place, standby, desired.policy.drain_timeout_s, gone)
            self._steps.recorder.forget(standby.key)
        if current is not None:
            self._steps.recorder.in_probation.discard(current.key)
        if current is None or current.key.artifact != desired.artifact:
            self._steps.restore(slot, row)  # a power cut came between the commit's two halves
        self.finish_step(slot, Event.DONE)

    def _drained(self, slot: str, number: int, live: Live) -> Callable[[bool], None]:
        """What to do once the old generation is gone, or will not go; called from the reaper's thread."""

        def told(gone: bool) -> None:
            if gone:
                live.gone_at = self._clock.monotonic()
                return
            message = f"Requests on generation {number} of {slot} did not end in time."
            self._post(lambda: self.tell("drain-timeout", slot, "drain-timeout", message))

        return told

    def _await_retired(self, slot: str, update: UpdateRow, live: Live) -> bool:
        """Give the old generation a moment to go, so that the record can say what memory came back."""
        if live.retired_at is None or update.record is None:
            return False
        if live.gone_at is None and self._clock.monotonic() - live.retired_at < RETIRE_WAIT_S:
            self._due[slot] = self._clock.monotonic() + 0.05
            return True
        drained_ms = (live.gone_at - live.retired_at) * 1000 if live.gone_at is not None else 0.0
        update.record = msgspec.structs.replace(
            update.record, drain_ms=update.record.drain_ms + drained_ms, rss_after_bytes=resident_bytes()
        )
        return False

    def _report(self, slot: str, update: UpdateRow) -> None:
        if self._await_retired(slot, update, self.live.setdefault(slot, Live())):
            return
        notices: list[Notice] = []
        if update.record is not None and update.record.generation_to:
            reason: Any = "update" if update.outcome == "committed" else "rollback"
            record = msgspec.structs.replace(update.record, reason=reason, fetched_bytes=update.fetched_bytes)
            notices.append(record)
        if update.outcome != "committed":
            kind = {"refused": "update-refused", "superseded": "update-superseded"}.get(
                update.outcome, update.outcome
            )
            notices.append(self._event(kind, slot, update.code, update.message))
        else:
            notices.append(self._event("committed", slot, "", f"{name_of(update)} serves in {slot}."))
        self.live.pop(slot, None)
        if update.finished_at == 0.0:
            update.finished_at = self._clock.now()
        self.finish_step(slot, Event.DONE, notices=notices)
        self._collect()
        self._post(self.reconcile)

    def _collect(self) -> None:
        keep = {row.artifact for row in self._journal.slots.values()} | {
            r.previous for r in self._journal.slots.values()
        }
        keep |= {u.desired.artifact for u in self._journal.updates.values() if u.state != State.IDLE}
        try:
            self._steps.store.collect(keep - {""})
        except DeviceError as error:
            log.warning("cleaning up failed code=%s %s", error.code, error.message)

    def tell(self, kind: str, slot: str, code: str, message: str) -> None:
        """Keep an event for the host; one that the disk refuses is logged and lost."""
        try:
            self._outbox.add([self._event(kind, slot, code, message)])
        except DeviceError as error:
            log.warning("event lost code=%s %s", error.code, error.message)

    def _event(self, kind: str, slot: str, code: str, message: str) -> TelemetryEvent:
        return TelemetryEvent(at=self._clock.now(), kind=kind, slot=slot, code=code, message=message[:2000])


def name_of(update: UpdateRow) -> str:
    """`model@version` of what an update wants."""
    return f"{update.desired.model}@{update.desired.version}"
