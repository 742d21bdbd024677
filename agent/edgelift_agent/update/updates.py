"""Drives every slot's update through the machine: journal first, then act, then journal what came of it.

Where an update begins is `assigned`, how it ends `closing`, where it stands `progress`. Starting after a crash
is `recovery`'s business, orders from a person `by_hand`'s.

One instance, used from the worker's thread only. Long steps run on the pool and come back through `post`;
nothing here blocks, so a breach in one slot is acted on while another slot downloads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import msgspec

from edgelift_agent.artifact.fetch import Superseded, WrongBytes
from edgelift_agent.system.backoff import after, delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.outbox import Outbox
from edgelift_agent.update.assigned import Assigned
from edgelift_agent.update.closing import Closing
from edgelift_agent.update.journal import Journal, SlotRow, UpdateRow
from edgelift_agent.update.machine import BEFORE_SWAP, Event, State
from edgelift_agent.update.progress import Progress
from edgelift_agent.update.steps import Done, Live, Steps
from edgelift_contract.errors import EdgeliftError, TransportError

log = logging.getLogger(__name__)

#: Whole fetches of a blob that came out wrong until the release is refused for it: what stands on the way (a proxy, a
#: portal) may alter a download once or twice, and is gone with the next try.
MAX_WRONG_BYTES = 3


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
        self._journal, self._steps = journal, steps
        self._pool, self._post, self._retry_delays = pool, post, retry_delays
        self._delays: dict[str, Iterator[float]] = {}
        self.progress = Progress(journal, steps.slots, clock, outbox)
        self.assigned = Assigned(device, journal, steps, clock, self.progress)
        self._closing = Closing(journal, steps, clock, self.progress, post)

    def rows(self) -> list[UpdateRow]:
        """The updates, under way and past."""
        return list(self._journal.updates.values())

    def tick(self) -> float | None:
        """Run every step that is due; returns seconds until the next one, None when nothing is under way."""
        progress = self.progress
        for slot, update in list(self._journal.updates.items()):
            state = State(update.state)
            while state is not State.IDLE and slot not in progress.running and not progress.left_s(slot):
                before = state
                self._act(slot, update, state)
                update = self._journal.updates.get(slot, update)
                state = State(update.state)
                if state is before:
                    break
        waits = [
            progress.left_s(slot)
            for slot, update in self._journal.updates.items()
            if update.state != State.IDLE and slot not in progress.running
        ]
        return min(waits) if waits else None

    def _act(self, slot: str, update: UpdateRow, state: State) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        live = self.progress.live.setdefault(slot, Live())
        live.cancelled = lambda: slot in self.progress.cancelled
        floors = dict(self._journal.meta.floors)
        steps = self._steps
        if state is State.OBSERVING:
            self._closing.observe(slot, update, live)
        elif state is State.COMMITTING:
            self._guard(slot, state, lambda: self._closing.commit(slot, update, row, live))
        elif state is State.REPORTING:
            self._guard(slot, state, lambda: self._closing.report(slot, update, live))
            if self._journal.updates[slot].state == State.IDLE:
                self._steps.collect(self._journal.kept())
                self._post(self.assigned.reconcile)  # what is wanted now may be something else again
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
        self.progress.running.add(slot)

        def run() -> None:
            try:
                done, error = work(), None
            except BaseException as caught:  # noqa: BLE001 - handed to the worker's thread, which judges it
                done, error = None, caught
            self._post(lambda: self._ended(slot, state, done, error))

        self._pool.submit(run)

    def _ended(self, slot: str, state: State, done: Done | None, error: BaseException | None) -> None:
        self.progress.running.discard(slot)
        update = self._journal.updates[slot]
        cancelled = slot in self.progress.cancelled and state in BEFORE_SWAP
        self.progress.cancelled.discard(slot)
        retry = state is State.FETCHING and isinstance(error, TransportError)
        if not retry:
            self._delays.pop(slot, None)
        if cancelled or isinstance(error, Superseded):
            self.progress.superseded(slot)
        elif done is not None:
            update.fetched_bytes += done.fetched_bytes
            if update.record is not None and done.record:
                update.record = msgspec.structs.replace(update.record, **done.record)
            self.progress.finish(slot, Event.DONE)
        elif retry and isinstance(error, TransportError):
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
        self.progress.finish(slot, Event.FAILED, code, message)

    def _retry_later(self, slot: str, update: UpdateRow, error: TransportError) -> None:
        if isinstance(error, WrongBytes):
            times = update.wrong_bytes.get(error.sha256, 0) + 1
            update.wrong_bytes = {**update.wrong_bytes, error.sha256: times}
            if times >= MAX_WRONG_BYTES:
                self._delays.pop(slot, None)
                self._failed(slot, State.FETCHING, error)
                return
        wait_s = after(error, next(self._delays.setdefault(slot, self._retry_delays())))
        log.warning("slot=%s phase=fetching code=%s retry_in_s=%.1f %s", slot, error.code, wait_s, error.message)
        self.progress.wait(slot, wait_s)
        if isinstance(error, WrongBytes) or (update.code, update.message) != (error.code, error.message):
            update.code, update.message = error.code, error.message
            with self._journal.transaction():
                self._journal.save_update(slot, update)
            self.progress.changed = True
