"""Drives every slot's update through the machine: journal first, then act, then journal what came of it.

Where an update begins is `assigned`, how it ends `closing`, where it stands `progress`. Starting after a crash
is `recovery`'s business, orders from a person `by_hand`'s.

One instance, used from the worker's thread only. Long steps run on the pool and come back through `post`;
nothing here blocks, so a breach in one slot is acted on while another slot downloads.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from edgelift_agent.artifact.fetch import Superseded, WrongBytes
from edgelift_agent.system.backoff import after, delays
from edgelift_agent.update.assigned import Assigned
from edgelift_agent.update.closing import Closing
from edgelift_agent.update.exchange import Exchange, InFlight
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import BEFORE_SWAP, Event, State
from edgelift_agent.update.plan import OUTSIDE, is_judged_alike
from edgelift_agent.update.progress import Progress
from edgelift_agent.update.records import SlotRow, UpdateRow, signed_of
from edgelift_agent.update.steps import StepResult, Steps
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.errors import DeviceError, EdgeliftError, TransportError, disk_code

log = logging.getLogger(__name__)

#: Whole fetches of a blob that came out wrong until the release is refused for it: what stands on the way (a proxy, a
#: portal) may alter a download once or twice, and is gone with the next try.
MAX_WRONG_BYTES = 3


class Updates:
    """All updates of the device."""

    def __init__(
        self,
        journal: Journal,
        steps: Steps,
        exchange: Exchange,
        progress: Progress,
        assigned: Assigned,
        closing: Closing,
        *,
        pool: Executor,
        post: Callable[[Callable[[], None]], None],
        retry_delays: Callable[[], Iterator[float]] = delays,
    ) -> None:
        """Bind the parts; long steps run on `pool`, `post` hands a callable to the worker's thread, and
        `retry_delays` are those between tries of a fetch, seconds.
        """
        self._journal, self._steps, self._exchange = journal, steps, exchange
        self._progress, self._assigned, self._closing = progress, assigned, closing
        self._pool, self._post, self._retry_delays = pool, post, retry_delays
        self._delays: dict[str, Iterator[float]] = {}

    def tick(self) -> float | None:
        """Run every step that is due; returns seconds until the next one, None when nothing is under way."""
        progress = self._progress
        for slot, update in list(self._journal.updates.items()):
            state = State(update.state)
            while state is not State.IDLE and slot not in progress.running and not progress.left_s(slot):
                before = state
                self._act(slot, update, state)
                update = self._journal.updates.get(slot, update)
                state = State(update.state)
                if state is before:
                    break
        self._closing.end_checks()
        waits = [
            progress.left_s(slot)
            for slot, update in self._journal.updates.items()
            if update.state != State.IDLE and slot not in progress.running
        ]
        return min(waits) if waits else None

    def _act(self, slot: str, update: UpdateRow, state: State) -> None:
        row = self._journal.slots.get(slot) or SlotRow()
        in_flight = self._progress.in_flight.setdefault(slot, InFlight())
        in_flight.cancelled = lambda: slot in self._progress.cancelled
        if state is State.OBSERVING:
            self._closing.observe(slot, update, in_flight)
        elif state is State.COMMITTING:
            self._guard(slot, state, lambda: self._closing.commit(slot, update, row, in_flight))
        elif state is State.REPORTING:
            self._guard(slot, state, lambda: self._closing.report(slot, update, in_flight))
            if self._journal.updates[slot].state == State.IDLE:
                self._post(self._assigned.reconcile)  # what is wanted now may be something else again
                self._steps.collect(self._journal.kept())
        else:
            self._run(slot, state, self._work(slot, update, state, row, in_flight))

    def _work(
        self, slot: str, update: UpdateRow, state: State, row: SlotRow, in_flight: InFlight
    ) -> Callable[[], StepResult]:
        """A long step, to be run on the pool."""
        steps, exchange = self._steps, self._exchange
        floors = dict(self._journal.meta.floors)
        signed = signed_of(self._journal.meta).get(update.desired.artifact)
        alone = exchange.current(slot) is None
        timeout_s = update.desired.policy.drain_timeout_s

        def roll_back() -> StepResult:
            exchange.roll_back(slot, row, in_flight, timeout_s)
            return StepResult()

        work: dict[State, Callable[[], StepResult]] = {
            State.FETCHING: lambda: steps.fetch(update, in_flight, signed),
            State.VERIFYING: lambda: steps.verify(update, floors, signed, row),
            State.STAGING: lambda: steps.stage(update),
            State.PREFLIGHT: lambda: steps.preflight(update, alone=alone),
            State.SWAPPING: lambda: StepResult(exchange.swap(slot, update, row, in_flight)),
            State.ROLLING_BACK: roll_back,
        }
        return work[state]

    def _run(self, slot: str, state: State, work: Callable[[], StepResult]) -> None:
        """Run a step on the pool; its end comes back to the worker's thread."""
        self._progress.running.add(slot)
        desired = self._journal.updates[slot].desired

        def run() -> None:
            try:
                done, error = work(), None
            except BaseException as caught:  # noqa: BLE001 - handed to the worker's thread, which judges it
                done, error = None, caught
            self._post(lambda: self._ended(slot, state, desired, done, error))

        try:
            self._pool.submit(run)
        except RuntimeError as error:  # no thread can be started, or the agent is stopping
            self._progress.running.discard(slot)
            raise DeviceError("no-memory", f"No thread for {state.value} can be started: {error}.") from error

    def _ended(
        self,
        slot: str,
        state: State,
        desired: SlotAssignment,
        done: StepResult | None,
        error: BaseException | None,
    ) -> None:
        """A long step has ended, which was begun in `state` for what `desired` says."""
        self._progress.running.discard(slot)
        update = self._journal.updates[slot]
        cancelled = slot in self._progress.cancelled and state in BEFORE_SWAP
        self._progress.cancelled.discard(slot)
        retry = state is State.FETCHING and isinstance(error, TransportError)
        amended = state in BEFORE_SWAP and not holds(update, state, desired, failed=error is not None)
        if not retry or amended:
            self._delays.pop(slot, None)
        if cancelled or isinstance(error, Superseded):
            self._progress.superseded(slot)
        elif amended:  # what it came to is no answer to what is wanted now; what it fetched is kept
            update.fetched_bytes += done.fetched_bytes if done is not None else 0
            self._progress.wait(slot, 0.0)
        elif done is not None:
            update.fetched_bytes += done.fetched_bytes
            update.record = done.record or update.record
            self._progress.finish(slot, Event.DONE)
        elif retry and isinstance(error, TransportError):
            self._retry_later(slot, update, error)
        else:
            self._failed(slot, state, error)

    def _guard(self, slot: str, state: State, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - judged here, as the long steps' are
            known = as_known(error)
            if state is State.COMMITTING and known is not None and known.code in OUTSIDE:
                # It has passed its probation and serves: a disk that can't be written is no reason to undo that.
                wait_s = next(self._delays.setdefault(slot, self._retry_delays()))
                log.error("slot=%s phase=%s code=%s retry_in_s=%.1f", slot, state.value, known.code, wait_s)
                self._progress.wait(slot, wait_s)
                return
            self._failed(slot, state, error)

    def _failed(self, slot: str, state: State, error: BaseException | None) -> None:
        known = as_known(error)
        code = known.code if known else "internal"
        message = known.message if known else f"A fault in edgelift: {type(error).__name__}: {error}"
        if known is None:
            log.error("slot=%s phase=%s fault", slot, state.value, exc_info=error)
        self._progress.finish(slot, Event.FAILED, code, message)

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
        self._progress.wait(slot, wait_s)
        if isinstance(error, WrongBytes) or (update.code, update.message) != (error.code, error.message):
            update.code, update.message = error.code, error.message
            with self._journal.transaction():
                self._journal.save_update(slot, update)
            self._progress.changed = True


def holds(update: UpdateRow, state: State, desired: SlotAssignment, *, failed: bool) -> bool:
    """Is what a step came to, begun in `state` for `desired`, an answer to what its update wants now?"""
    if update.desired == desired:
        return update.state == state
    return update.state == state and not failed and is_judged_alike(update.desired, desired)


def as_known(error: BaseException | None) -> EdgeliftError | None:
    """What a step failed of, in edgelift's own terms; None for a fault in edgelift.

    The system's refusals (no memory, no descriptors, a disk) are never the artifact's fault, whichever library met
    them.
    """
    if isinstance(error, EdgeliftError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
        return DeviceError("no-memory", "There is not enough memory.")
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ENOENT:
        return DeviceError(disk_code(error.errno), f"The system refused: {error}.")
    return None
