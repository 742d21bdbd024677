"""Where each slot's update stands, and the one way to its next state: journalled before anything acts on it.

What a state does is `steps`' business, when it acts is `updates`'. Used from the worker's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import msgspec

from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.outbox import Notice
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_agent.update.exchange import Exchange, InFlight
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import Event, State, follow
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.errors import DeviceError
from edgelift_contract.report import Outcome
from edgelift_contract.tally import Tally
from edgelift_contract.telemetry import DeviceEvent

log = logging.getLogger(__name__)

#: Delays before a step is tried again whose end the journal could not take: the first and the longest, seconds.
JOURNAL_RETRY_S = (1.0, 60.0)
MAX_ROLLBACKS = 3


class Progress:
    """The updates under way.

    Attributes:
        in_flight: slot → what its update holds in memory.
        running: slots with a step on the pool; cancelled: those of them whose step is to give up.
        due: slot → monotonic time before which its next step does not begin, seconds.
        changed: something that a report tells is different; whoever reports clears it.
        outcomes: updates that ended since the process began, by outcome and code.
    """

    def __init__(self, journal: Journal, exchange: Exchange, clock: Clock, queue: TelemetryQueue) -> None:
        self._journal, self._exchange, self._clock, self._queue = journal, exchange, clock, queue
        self._delays: dict[str, Iterator[float]] = {}
        self.in_flight: dict[str, InFlight] = {}
        self.running: set[str] = set()
        self.cancelled: set[str] = set()
        self.due: dict[str, float] = {}
        self.changed = True
        self.outcomes = Tally()
        # Slot → when its state began, monotonic: an update that was under way before goes on from here.
        self._began, self._entered = clock.monotonic(), dict[str, float]()

    def begun(self, slot: str) -> None:
        """The slot's update begins now."""
        self._entered[slot] = self._clock.monotonic()

    def _note_time(self, slot: str, update: UpdateRow, state: State) -> None:
        """Add to the update how long it has been in this state."""
        now = self._clock.monotonic()
        spent_s = now - self._entered.get(slot, self._began)
        update.took_s = {**update.took_s, state.value: round(update.took_s.get(state.value, 0.0) + spent_s, 3)}
        self._entered[slot] = now

    def wait(self, slot: str, seconds: float) -> None:
        """Let the slot's next step begin no sooner than `seconds` from now."""
        self.due[slot] = self._clock.monotonic() + seconds

    def left_s(self, slot: str) -> float:
        """Seconds until the slot's next step is due; 0 when it is."""
        return max(0.0, self.due.get(slot, 0.0) - self._clock.monotonic())

    def superseded(self, slot: str) -> None:
        """End the slot's update, because a newer assignment replaced it."""
        update = self._journal.updates[slot]
        self.finish(slot, Event.SUPERSEDED, "superseded", f"A newer assignment replaced {name_of(update)}.")

    def amended(self, slot: str, desired: SlotAssignment, revision: int, *, judged_alike: bool) -> None:
        """Let the slot's update go on with other words about its artifact; a step under way is not interrupted.

        Args:
            slot: whose update.
            desired: the words.
            revision: of the assignment that asked for them.
            judged_alike: what was judged already holds for them as well.

        Raises:
            DeviceError: the journal's; nothing was changed.
        """
        update = self._journal.updates[slot]
        state = State(update.state)
        after = state if judged_alike else follow(state, Event.AMENDED)
        if desired.manifest_bytes != update.desired.manifest_bytes:
            kept = {sha256: times for sha256, times in update.wrong_bytes.items() if sha256 != desired.artifact}
            update.wrong_bytes = kept  # the manifest's own were fetched by another length
        update.desired, update.revision, update.state = desired, revision, after.value
        update.code = update.message = ""
        self._note_time(slot, update, state)
        if update.record is not None:
            update.record = msgspec.structs.replace(update.record, version_to=desired.version)
        with self._journal.transaction():
            self._journal.save_update(slot, update)
        self.wait(slot, 0.0)
        self.changed = True
        log.info(
            "slot=%s phase=%s outcome=amended next=%s update=%s", slot, state.value, after.value, name_of(update)
        )

    def finish(
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
        self._note_time(slot, update, state)
        update.state = after.value
        self.wait(slot, 1.0 if state is after else 0.0)
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
                self._queue.insert(notices)
                self._journal.save_update(slot, update)
            self._delays.pop(slot, None)
        except DeviceError as error:
            log.error("slot=%s the journal can't be written code=%s %s", slot, error.code, error.message)
            wait_s = next(self._delays.setdefault(slot, delays(*JOURNAL_RETRY_S)))
            if state is State.REPORTING:
                update.state = state.value  # its report is made again: nothing else hangs on it
            if after is State.ROLLING_BACK or state in (State.ROLLING_BACK, State.REPORTING):
                # Undoing may not wait for the disk: what the journal says now leads to a rollback as well.
                self._journal.run_ahead(slot, update)
            if after is not State.ROLLING_BACK or state is after:
                self.wait(slot, wait_s)

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
        current = self._exchange.current(slot)
        if current is not None:
            row.serving = current.number
            self._journal.save_slot(slot, row)

    def emit_event(self, kind: str, slot: str, code: str, message: str) -> None:
        """Keep an event for the host."""
        self._queue.add([self.event(kind, slot, code, message)])

    def event(self, kind: str, slot: str, code: str, message: str) -> DeviceEvent:
        """An event for the host, now."""
        return DeviceEvent(at=self._clock.now(), kind=kind, slot=slot, code=code, message=message[:2000])


def name_of(update: UpdateRow) -> str:
    """`model@version` of what an update wants."""
    return f"{update.desired.model}@{update.desired.version}"
