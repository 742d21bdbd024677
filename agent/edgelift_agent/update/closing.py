"""The end of an update: its probation, its commit, and what the host is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgelift_agent.system.clock import Clock
from edgelift_agent.system.memory import resident_bytes
from edgelift_agent.telemetry.latency import Served
from edgelift_agent.telemetry.outbox import Notice
from edgelift_agent.update.journal import Journal, SlotRow, UpdateRow
from edgelift_agent.update.machine import Event
from edgelift_agent.update.probation import judge
from edgelift_agent.update.progress import Progress, name_of
from edgelift_agent.update.steps import Live, Steps
from edgelift_contract.histogram import Histogram

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
        clock: Clock,
        progress: Progress,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._journal, self._steps, self._clock = journal, steps, clock
        self._progress, self._post = progress, post

    def observe(self, slot: str, update: UpdateRow, live: Live) -> None:
        """OBSERVING: judge what the new generation served so far; wait, pass or fail."""
        place = self._steps.slots.get(slot)
        current = place.current if place else None
        if current is None or live.swapped_at is None:
            self._progress.finish(slot, Event.FAILED, "swap-failed", "The new generation is gone.")
            return
        recorder = self._steps.recorder
        served = recorder.served(current.key)
        before = recorder.served(live.standby.key) if live.standby else self._before(update)
        elapsed_s = update.observed_s + self._clock.monotonic() - live.swapped_at
        update.requests, update.errors = served.requests, served.errors
        verdict = judge(served, before, update.desired.policy, elapsed_s)
        if verdict.kind == "wait":
            left = update.desired.policy.probation_s - elapsed_s
            self._progress.wait(slot, max(0.0, min(JUDGE_EVERY_S, left)))
            return
        self._note_after(update, served)
        if verdict.kind == "pass":
            self._progress.finish(slot, Event.DONE)
        else:
            self._progress.finish(slot, Event.FAILED, verdict.code, verdict.message)

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

    def commit(self, slot: str, update: UpdateRow, row: SlotRow, live: Live) -> None:
        """COMMITTING: what a restart will serve is the new artifact from here on; the old generation may go.

        Raises:
            ContractError, DeviceError: it can't be committed, or not be served after a power cut.
        """
        desired = update.desired
        place = self._steps.slots.get(slot)
        current = place.current if place else None
        with self._journal.transaction():
            self._note_committed(slot, update, row, current.number if current else row.generation)
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
        self._progress.finish(slot, Event.DONE)

    def _note_committed(self, slot: str, update: UpdateRow, row: SlotRow, serving: int) -> None:
        """Everything that a commit writes; inside a transaction."""
        desired = update.desired
        if row.artifact != desired.artifact:
            row.previous, row.previous_version = row.artifact, row.version
            row.artifact, row.model, row.version = desired.artifact, desired.model, desired.version
            row.since, row.starts = self._clock.now(), 0
            row.serving = serving
            self._journal.save_slot(slot, row)
        manifest = self._steps.store.manifest(desired.artifact)
        floors = self._journal.meta.floors
        highest = 0 if desired.policy.allow_older else floors.get(manifest.model, 0)
        floors[manifest.model] = max(highest, manifest.release_counter)
        self._journal.save_meta()
        update.outcome = "committed"
        self._journal.save_update(slot, update)

    def _drained(self, slot: str, number: int, live: Live) -> Callable[[bool], None]:
        """What to do once the old generation is gone, or will not go; called from the reaper's thread."""

        def told(gone: bool) -> None:
            if gone:
                live.gone_at = self._clock.monotonic()
                return
            message = f"Requests on generation {number} of {slot} did not end in time."
            self._post(lambda: self._progress.tell("drain-timeout", slot, "drain-timeout", message))

        return told

    def _await_retired(self, slot: str, update: UpdateRow, live: Live) -> bool:
        """Give the old generation a moment to go, so that the record can say what memory came back."""
        if live.retired_at is None or update.record is None:
            return False
        if live.gone_at is None and self._clock.monotonic() - live.retired_at < RETIRE_WAIT_S:
            self._progress.wait(slot, 0.05)
            return True
        drained_ms = (live.gone_at - live.retired_at) * 1000 if live.gone_at is not None else 0.0
        update.record = msgspec.structs.replace(
            update.record, drain_ms=update.record.drain_ms + drained_ms, rss_after_bytes=resident_bytes()
        )
        return False

    def report(self, slot: str, update: UpdateRow, live: Live) -> None:
        """REPORTING: tell the host how it ended, once the record can say what memory came back."""
        if self._await_retired(slot, update, live):
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
            notices.append(self._progress.event(kind, slot, update.code, update.message))
        else:
            notices.append(self._progress.event("committed", slot, "", f"{name_of(update)} serves in {slot}."))
        self._progress.live.pop(slot, None)
        if update.finished_at == 0.0:
            update.finished_at = self._clock.now()
        self._progress.finish(slot, Event.DONE, notices=notices)
