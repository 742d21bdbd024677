"""What goes to the host: the report when it changed, telemetry when it is due; one sender thread, own retries.

The worker makes the bytes (it owns the journal and the outbox); a thread of its own sends them, because a
dead link may take long to say so; what was confirmed is dropped back on the worker's thread.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator

from edgelift_agent.ports import Host, NotReachedYet
from edgelift_agent.system.backoff import after, delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.standby import StandbyThreads
from edgelift_agent.telemetry.queue import Offer, TelemetryQueue
from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError
from edgelift_contract.pacing import rest_s
from edgelift_contract.telemetry import Batch, DeviceEvent

log = logging.getLogger(__name__)


#: How long a change waits for others before it is reported, seconds. A swap is several changes within milliseconds;
#: a report for each would take the processor from the requests that the swap must not disturb.
REPORT_AFTER_S = 0.1
#: The host's own word that something in a batch can't be read by it: one item may be at fault, and holds up the rest.
UNREADABLE = frozenset({"malformed", "too-large"})
#: More items than any batch has.
_ALL = 1 << 20


class Uplink:
    """Sends reports and batches. All methods are for the worker's thread."""

    def __init__(
        self,
        host: Host,
        queue: TelemetryQueue,
        clock: Clock,
        *,
        device: str,
        make_report: Callable[[], bytes],
        post: Callable[[Callable[[], None]], None],
        retry_delays: Callable[[], Iterator[float]] = delays,
    ) -> None:
        self._host, self._queue, self._clock = host, queue, clock
        self._device = device
        self._make_report, self._post, self._retry_delays = make_report, post, retry_delays
        self._sender = StandbyThreads(1, "uplink")
        self._delays = retry_delays()
        self._not_before = self._report_at = self._batch_at = 0.0
        self._busy = self._all_of_it = False
        self._at_most = _ALL
        self.report_wanted = True
        self.batch_wanted = True

    def want_report(self) -> None:
        """Something changed that the host should know; soon, for more is likely to change with it."""
        if not self.report_wanted:
            self.report_wanted, self._report_at = True, self._clock.monotonic() + REPORT_AFTER_S

    def want_batch(self) -> None:
        """Telemetry is due."""
        self.batch_wanted = True
        self.push()

    def connected(self) -> None:
        """The link came up: forget the waiting, tell everything."""
        self._delays, self._not_before, self._report_at, self._batch_at = self._retry_delays(), 0.0, 0.0, 0.0
        self.report_wanted = self.batch_wanted = True
        self.push()

    def push(self) -> None:
        """Send what is wanted, if nothing is being sent and no retry is being waited for."""
        now = self._clock.monotonic()
        if self._busy or now < self._not_before:
            return
        if self.report_wanted and now >= self._report_at:
            report = self._make_report()  # what can't be made now is still wanted
            self.report_wanted = False
            self._send(self._host.send_report, report, None)
        elif self.batch_wanted:
            offer = self._queue.peek()
            offer = dataclasses.replace(offer, items=offer.items[: self._at_most])
            if not offer.items:
                self.batch_wanted = False
                return
            if now < self._batch_at:
                return
            batch = Batch(schema=Batch.SCHEMA, device=self._device, epoch=offer.epoch, items=offer.items)
            self._all_of_it = self._queue.waiting() <= len(offer.items)
            self._send(self._host.send_batch, codec.canonical_json(batch), offer)

    def _send(self, call: Callable[[bytes], object], data: bytes, offer: Offer | None) -> None:
        self._busy = True

        def run() -> None:
            failed: Exception | None = None
            began = self._clock.monotonic()
            try:
                call(data)
            except Exception as error:  # noqa: BLE001 - handed to the worker's thread, which judges it
                failed = error
            took_s = self._clock.monotonic() - began
            self._post(lambda: self._sent(offer, failed, took_s))

        self._sender.submit(run)

    def _sent(self, offer: Offer | None, failed: Exception | None, took_s: float) -> None:
        self._busy = False
        if failed is None and offer is not None:
            if self._all_of_it:  # else there is what waits from before
                self._batch_at = self._clock.monotonic() + rest_s(took_s)
            failed, self._at_most = self._confirm(offer), min(2 * self._at_most, _ALL)
        if failed is None:
            self._delays = self._retry_delays()
        elif offer is not None and self._narrows(offer, failed):
            pass  # at once: it takes a few steps, and then ends
        else:
            wait_s = next(self._delays)
            if isinstance(failed, EdgeliftError):
                wait_s = after(failed, wait_s)
            self._not_before = self._clock.monotonic() + wait_s
            code = failed.code if isinstance(failed, EdgeliftError) else "internal"
            level = logging.INFO if isinstance(failed, NotReachedYet) else logging.WARNING
            log.log(level, "uplink code=%s retry_in_s=%.1f %s", code, wait_s, failed)
            if offer is None:
                self.report_wanted, self._report_at = True, 0.0
        self.push()

    def _narrows(self, offer: Offer, failed: Exception) -> bool:
        """Look for the item that the host can't read, by halves; found, it goes, or everything behind it would wait.

        Returns whether a smaller batch is to be sent at once. After an item went, the usual pause is kept: a host that
        can't read anything must not have a queue emptied in no time.
        """
        if not (isinstance(failed, ContractError) and failed.code in UNREADABLE):
            return False
        if len(offer.items) > 1:
            self._at_most = len(offer.items) // 2
            return True
        message = f"The host can't read the telemetry item {offer.items[0].seq}, which is dropped: {failed}"[:500]
        if self._confirm(offer) is None:
            log.warning("telemetry-refused code=%s %s", failed.code, message)
            now = self._clock.now()
            self._queue.add([DeviceEvent(at=now, kind="telemetry-refused", code=failed.code, message=message)])
        return False

    def _confirm(self, offer: Offer) -> Exception | None:
        """Drop what the host has; a disk that refuses makes it a failed try, or the next would follow at once."""
        try:
            self._queue.confirm(offer)
        except DeviceError as error:
            return error
        return None

    def due_in_s(self) -> float | None:
        """Seconds until `push` has something to do; None while it has not."""
        if self._busy or not (self.report_wanted or self.batch_wanted):
            return None
        dues = ([self._report_at] if self.report_wanted else []) + ([self._batch_at] if self.batch_wanted else [])
        return max(self._not_before, min(dues)) - self._clock.monotonic()

    @property
    def idle(self) -> bool:
        """Is everything sent that should be?"""
        return not (self._busy or self.report_wanted or self.batch_wanted)

    def flush(self) -> None:
        """Before stopping: wait for what is being sent; the rest stays on disk."""
        self._sender.shutdown(wait=True, cancel_futures=True)
