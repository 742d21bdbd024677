"""The updater: everything that changes what a device runs, behind one face.

Builds itself from ports and the parts below it; used from the worker's thread only, but for the ports it is given.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Protocol

from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_agent.update import journal as journal_file
from edgelift_agent.update.assigned import Assigned
from edgelift_agent.update.by_hand import ByHand
from edgelift_agent.update.closing import Closing
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import State
from edgelift_agent.update.own_check import OwnCheck
from edgelift_agent.update.progress import Progress
from edgelift_agent.update.recovery import Recovery
from edgelift_agent.update.reports import make_report
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updates import Updates
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.report import DeviceFacts, Report
from edgelift_contract.signed import Vouched
from edgelift_contract.tally import Tally

log = logging.getLogger(__name__)

#: Delays before the journal is tried again that can't be written: first and longest, seconds.
JOURNAL_AGAIN_S = (1.0, 60.0)


class Threads(Protocol):
    """What the updater asks of the worker that it runs on."""

    @property
    def pool(self) -> Executor:
        """For long steps."""

    def post(self, action: Callable[[], None]) -> None:
        """Do something on the worker's thread; from any thread."""

    def once(self, after_s: float, action: Callable[[], None]) -> None:
        """Do something once, later, on the worker's thread."""


class Updater:
    """All that an agent does about updates: take an assignment, carry it out, roll back, report.

    Attributes:
        epoch: of this process, for reports: boot and start.
    """

    def __init__(
        self,
        device: str,
        journal: Journal,
        steps: Steps,
        exchange: Exchange,
        queue: TelemetryQueue,
        degraded: Degraded,
        clock: Clock,
        threads: Threads,
        *,
        on_committed: Callable[[], None] = lambda: None,
        own_check: OwnCheck | None = None,
        retry_delays: Callable[[], Iterator[float]] = delays,
        again_delays: Callable[[], Iterator[float]] = lambda: delays(60.0, 3600.0),
    ) -> None:
        """Bind; nothing is read or changed before `start`."""
        self._device, self._journal, self._exchange, self._clock = device, journal, exchange, clock
        self._degraded, self._threads = degraded, threads
        self._progress = Progress(journal, exchange, clock, queue)
        self._assigned = Assigned(
            device, journal, steps, exchange, clock, self._progress, degraded, again_delays=again_delays
        )
        closing = Closing(journal, steps, exchange, clock, self._progress, threads.post, on_committed, own_check)
        self._own_check = own_check
        self._updates = Updates(
            journal, steps, exchange, self._progress, self._assigned, closing,
            pool=threads.pool, post=threads.post, retry_delays=retry_delays,
        )  # fmt: skip
        self._recovery = Recovery(journal, exchange, self._progress, clock, degraded, threads.once)
        self._by_hand = ByHand(journal, exchange, self._progress, self._assigned, clock)
        self._journal_delays = delays(*JOURNAL_AGAIN_S)
        self._journal_due: float | None = None
        self.epoch = ""

    def start(self, boot: str) -> None:
        """Serve what is committed, then go on with what was under way; what the disk refuses is tried again.

        Args:
            boot: names this boot of the machine; with the start's number it names this process.
        """
        self._assigned.resume()
        self._recovery.start()
        if self._own_check is not None:
            self._own_check.start()
        # The last part tells two devices apart that were cloned from one card, also within one boot, and two starts
        # that the journal could not count.
        self.epoch = f"{boot}-{self._journal.meta.starts}-{secrets.token_hex(3)}"
        if self._recovery.noted:
            self._try(self._assigned.reconcile)
        else:
            self._look_at_journal_later()

    @property
    def starts(self) -> int:
        """How often the agent was started, as far as the journal knows."""
        return self._journal.meta.starts

    @property
    def outcomes(self) -> Tally:
        """Updates that ended since the process began, by outcome and code."""
        return self._progress.outcomes

    @property
    def noted(self) -> bool:
        """Does this start stand in the journal?"""
        return self._recovery.noted

    def stop(self) -> None:
        """Note a clean stop; what is under way goes on after the next start."""
        self._recovery.stop()
        if self._own_check is not None:
            self._own_check.close()

    def mark_stable(self) -> None:
        """The process has lived long enough not to be suspected of what it serves."""
        self._try(self._recovery.mark_stable)

    def tick(self) -> float | None:
        """Do what is due; returns seconds until the next, None when nothing is under way."""
        if self._journal_due is None and (self._assigned.unfinished or self._degraded_journal()):
            self._look_at_journal_later()
        if self._journal_due is not None and self._clock.monotonic() >= self._journal_due:
            self._look_at_journal()
        waits = [self._updates.tick() if self._recovery.noted else None, self._again()]
        if self._journal_due is not None:
            waits.append(max(0.0, self._journal_due - self._clock.monotonic()))
        known = [wait for wait in waits if wait is not None]
        return min(known) if known else None

    def _again(self) -> float | None:
        if not self._recovery.noted:
            return None
        due = self._assigned.again_in_s()
        if due is not None and due <= 0:
            self._try(self._assigned.try_again)
            due = self._assigned.again_in_s()
        return due

    def _degraded_journal(self) -> bool:
        parts = (journal_file.PART, journal_file.SECOND_PART)
        return any(fault.part in parts for fault in self._degraded.reasons())

    def _look_at_journal_later(self) -> None:
        self._journal_due = self._clock.monotonic() + next(self._journal_delays)

    def _look_at_journal(self) -> None:
        """See whether the journal can be written again, and catch up on what it could not take."""
        try:
            self._journal.reopen()
            if not self._recovery.noted:
                self._assigned.resume()  # the records may have been read only now
                self._recovery.note_start()
                self._recovery.serve_missing()
            self._assigned.take_waiting()
            self._assigned.reconcile()
            self._assigned.try_again(now=True)
        except DeviceError as error:
            log.info("the journal still can't be written code=%s", error.code)
            self._look_at_journal_later()
            return
        self._journal_delays, self._journal_due = delays(*JOURNAL_AGAIN_S), None

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except DeviceError as error:
            log.error("not done code=%s %s", error.code, error)
            self._look_at_journal_later()

    def accept(self, data: bytes, signed: Mapping[str, Vouched]) -> None:
        """Take an assignment's bytes, and what was signed of its artifacts; see `Assigned.accept`.

        One that is malformed or for another device is refused and logged.
        """
        try:
            self._assigned.accept(data, signed)
        except ContractError as error:
            log.error("assignment refused code=%s %s", error.code, error)
        except DeviceError as error:
            log.error("assignment waits for the journal code=%s %s", error.code, error)
            self._look_at_journal_later()

    def hurry(self) -> None:
        """What waits for another try has it now; see `Assigned.hurry`."""
        self._try(self._assigned.hurry)

    @property
    def seen(self) -> tuple[int, bytes] | None:
        """Revision and bytes of the newest assignment that was taken, or waits for the disk; None before the first."""
        return self._assigned.seen

    def roll_back(self, slot: str) -> str:
        """Go back by hand; see `ByHand.roll_back`."""
        return self._by_hand.roll_back(slot)

    def pin(self, slot: str, *, pinned: bool) -> str:
        """Leave a slot alone, or take it up again; see `ByHand.pin`."""
        return self._by_hand.pin(slot, pinned=pinned)

    def order(self, order: str, slot: str, artifact: str) -> None:
        """Load or unload by a client; see `ByHand.order`."""
        self._by_hand.order(order, slot, artifact)

    def report(self, sequence: int, facts: DeviceFacts, tags: dict[str, str], address: str) -> Report:
        """The device's state, for the host and for `status`."""
        return make_report(
            self._journal,
            self._exchange,
            device=self._device,
            epoch=self.epoch,
            sequence=sequence,
            at=self._clock.now(),
            facts=facts,
            tags=tags,
            degraded=self._degraded.reasons(),
            address=address,
        )

    def take_changed(self) -> bool:
        """Did something change since the last call that a report tells?"""
        changed, self._progress.changed = self._progress.changed, False
        return changed

    @property
    def settled(self) -> bool:
        """Is no update under way?"""
        return all(update.state == State.IDLE for update in self._journal.updates.values())

    @property
    def ended(self) -> bool:
        """Has some update come to an end?"""
        return any(update.state == State.IDLE for update in self._journal.updates.values())
