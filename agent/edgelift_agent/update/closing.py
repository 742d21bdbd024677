"""The end of an update: its probation, its commit, and what the host is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgelift_agent.system.clock import Clock
from edgelift_agent.system.memory import resident_bytes
from edgelift_agent.telemetry.outbox import Notice
from edgelift_agent.update.exchange import Exchange, InFlight, note_after
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import Event, State
from edgelift_agent.update.own_check import OwnCheck
from edgelift_agent.update.progress import Progress, name_of
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_agent.update.steps import Steps
from edgelift_contract.histogram import Histogram
from edgelift_contract.probation import Served, Verdict, judge

#: How often a probation is judged, seconds: a breach is undone within one second.
JUDGE_EVERY_S = 0.5
#: How long a report waits for the old generation to go, seconds; after that the record says what it knows.
RETIRE_WAIT_S = 2.0


class Closing:
    """OBSERVING, COMMITTING and REPORTING. Used from the worker's thread only."""

    def __init__(
        self,
        journal: Journal,
        steps: Steps,
        exchange: Exchange,
        clock: Clock,
        progress: Progress,
        post: Callable[[Callable[[], None]], None],
        on_committed: Callable[[], None],
        own_check: OwnCheck | None = None,
    ) -> None:
        """Bind; `on_committed` is called once a new generation is committed, before that is reported.

        `own_check` is asked in each probation where the device has one.
        """
        self._journal, self._steps, self._exchange, self._clock = journal, steps, exchange, clock
        self._progress, self._post, self._on_committed = progress, post, on_committed
        self._own_check = own_check

    def observe(self, slot: str, update: UpdateRow, in_flight: InFlight) -> None:
        """OBSERVING: judge what the new generation served so far; wait, pass or fail."""
        current = self._exchange.current(slot)
        if current is None or in_flight.swapped_at is None:
            self._progress.finish(slot, Event.FAILED, "swap-failed", "The new generation is gone.")
            return
        served = self._exchange.served(current)
        elapsed_s = update.observed_s + self._clock.monotonic() - in_flight.swapped_at
        update.requests, update.errors = served.requests, served.errors
        left_s = update.desired.policy.probation_s - elapsed_s
        verdict = judge(served, self._before(update, in_flight), update.desired.policy, elapsed_s)
        if self._own_check is not None:
            verdict = self._own_check.judge(slot, update, in_flight.swapped_at, verdict, -left_s)
        if verdict.kind != "fail":
            self._note_awaited(update, verdict)
        if verdict.kind == "wait":
            self._progress.wait(slot, min(JUDGE_EVERY_S, left_s) if left_s > 0 else JUDGE_EVERY_S)
            return
        if update.record is not None:
            update.record = note_after(update.record, served)
        if verdict.kind == "pass":
            self._progress.finish(slot, Event.DONE)
        else:
            self._progress.finish(slot, Event.FAILED, verdict.code, verdict.message)

    def end_checks(self) -> None:
        """End the device's own check where no probation is under way any more, whatever ended it."""
        if self._own_check is not None:
            updates = self._journal.updates.items()
            self._own_check.keep_only({slot for slot, update in updates if update.state == State.OBSERVING})

    def _note_awaited(self, update: UpdateRow, verdict: Verdict) -> None:
        """Tell what a probation waits for, in memory alone: a restart asks anew."""
        if (update.code, update.message) != (verdict.code, verdict.message):
            update.code, update.message = verdict.code, verdict.message
            self._progress.changed = True

    def _before(self, update: UpdateRow, in_flight: InFlight) -> Served | None:
        """What the old generation served: as it stands now, as it stood when it was parked, or as recorded."""
        if in_flight.standby is not None:
            return self._exchange.served(in_flight.standby)
        if in_flight.before is not None:
            return in_flight.before
        record = update.record
        if record is None or record.before_us is None:
            return None
        histogram = Histogram.from_data(record.before_us)
        return Served(ok=histogram.count, total_us={record.before_throttled > 0.5: histogram})

    def commit(self, slot: str, update: UpdateRow, row: SlotRow, in_flight: InFlight) -> None:
        """COMMITTING: what a restart will serve is the new artifact from here on; the old generation may go.

        Raises:
            ContractError, DeviceError: it can't be committed, or not be served after a power cut.
        """
        desired = update.desired
        current = self._exchange.current(slot)
        with self._journal.transaction():
            self._note_committed(slot, update, row, current.number if current else row.generation)
        standby = in_flight.standby
        on_gone = self._drained(slot, standby.number if standby else 0, in_flight)
        self._exchange.settle(slot, in_flight, desired.policy.drain_timeout_s, on_gone)
        if current is None or current.key.artifact != desired.artifact:
            self._exchange.restore(slot, row)  # a power cut came between the commit's two halves
        self._on_committed()
        self._progress.finish(slot, Event.DONE)

    def _note_committed(self, slot: str, update: UpdateRow, row: SlotRow, serving: int) -> None:
        """Everything that a commit writes; inside a transaction."""
        desired = update.desired
        if row.artifact != desired.artifact:
            row.lost = [one for one in row.lost if one != desired.artifact] if not row.artifact else []
            row.previous, row.previous_version = row.artifact, row.version
            row.artifact, row.model, row.version = desired.artifact, desired.model, desired.version
            row.since, row.starts = self._clock.now(), 0
            row.serving = serving
            self._journal.save_slot(slot, row)
        elif desired.placebo:  # what it goes back to stays what it was
            row.since, row.starts, row.serving = self._clock.now(), 0, serving
            self._journal.save_slot(slot, row)
        model, counter = self._steps.release_counter(desired.artifact)
        floors = self._journal.meta.floors
        floors[model] = max(floors.get(model, 0), counter)  # whoever orders a device back never lowers it
        self._journal.save_meta()
        update.outcome = "committed"
        self._journal.save_update(slot, update)

    def _drained(self, slot: str, number: int, in_flight: InFlight) -> Callable[[bool], None]:
        """What to do once the old generation is gone, or will not go; called from the reaper's thread."""

        def drained(gone: bool) -> None:
            if gone:
                in_flight.gone_at = self._clock.monotonic()
                return
            message = f"Requests on generation {number} of {slot} did not end in time."
            self._post(lambda: self._progress.emit_event("drain-timeout", slot, "drain-timeout", message))

        return drained

    def _await_retired(self, slot: str, update: UpdateRow, in_flight: InFlight) -> bool:
        """Give the old generation a moment to go, so that the record can say what memory came back."""
        if in_flight.retired_at is None or update.record is None:
            return False
        if in_flight.gone_at is None and self._clock.monotonic() - in_flight.retired_at < RETIRE_WAIT_S:
            self._progress.wait(slot, 0.05)
            return True
        drained_ms = (in_flight.gone_at - in_flight.retired_at) * 1000 if in_flight.gone_at is not None else 0.0
        update.record = msgspec.structs.replace(
            update.record, drain_ms=update.record.drain_ms + drained_ms, rss_after_bytes=resident_bytes()
        )
        return False

    def report(self, slot: str, update: UpdateRow, in_flight: InFlight) -> None:
        """REPORTING: tell the host how it ended, once the record can say what memory came back."""
        if self._await_retired(slot, update, in_flight):
            return
        notices: list[Notice] = []
        if update.record is not None and update.record.generation_to:
            same = update.record.artifact_from == update.record.artifact_to
            committed: Any = "placebo" if same else "update"
            reason = committed if update.outcome == "committed" else "rollback"
            record = msgspec.structs.replace(update.record, reason=reason, fetched_bytes=update.fetched_bytes)
            notices.append(record)
        if update.outcome != "committed":
            kind = {"refused": "update-refused", "superseded": "update-superseded"}.get(
                update.outcome, update.outcome
            )
            notices.append(self._progress.event(kind, slot, update.code, update.message))
        else:
            notices.append(self._progress.event("committed", slot, "", f"{name_of(update)} serves in {slot}."))
        self._progress.in_flight.pop(slot, None)
        if update.finished_at == 0.0:
            update.finished_at = self._clock.now()
        self._progress.outcomes.add(update.outcome, update.code)
        self._progress.finish(slot, Event.DONE, notices=notices)
