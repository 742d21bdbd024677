"""What goes to the host: the report when it changed, telemetry when it is due; one sender thread, own retries.

The worker makes the bytes (it owns the journal and the outbox); a thread of its own sends them, because a
dead link may take long to say so; what was confirmed is dropped back on the worker's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from edgelift_agent.ports import Host
from edgelift_agent.system.backoff import after, delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.outbox import Outbox
from edgelift_contract import codec
from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.telemetry import Batch, Item

log = logging.getLogger(__name__)


#: How long a change waits for others before it is reported, seconds. A swap is several changes within milliseconds;
#: a report for each would take the processor from the requests that the swap must not disturb.
REPORT_AFTER_S = 0.1


class Uplink:
    """Sends reports and batches. All methods are for the worker's thread."""

    def __init__(
        self,
        host: Host,
        outbox: Outbox,
        clock: Clock,
        *,
        device: str,
        epoch: Callable[[], str],
        make_report: Callable[[], bytes],
        post: Callable[[Callable[[], None]], None],
        retry_delays: Callable[[], Iterator[float]] = delays,
    ) -> None:
        self._host, self._outbox, self._clock = host, outbox, clock
        self._device, self._epoch = device, epoch
        self._make_report, self._post, self._retry_delays = make_report, post, retry_delays
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="uplink")
        self._delays = retry_delays()
        self._not_before = self._report_at = 0.0
        self._busy = False
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
        self._delays, self._not_before, self._report_at = self._retry_delays(), 0.0, 0.0
        self.report_wanted = self.batch_wanted = True
        self.push()

    def push(self) -> None:
        """Send what is wanted, if nothing is being sent and no retry is being waited for."""
        now = self._clock.monotonic()
        if self._busy or now < self._not_before:
            return
        if self.report_wanted and now >= self._report_at:
            self.report_wanted = False
            self._send(self._host.send_report, self._make_report(), ())
        elif self.batch_wanted:
            items = self._outbox.peek()
            if not items:
                self.batch_wanted = False
                return
            batch = Batch(schema=Batch.SCHEMA, device=self._device, epoch=self._epoch(), items=items)
            self._send(self._host.send_batch, codec.canonical_json(batch), items)

    def _send(self, call: Callable[[bytes], object], data: bytes, items: Sequence[Item]) -> None:
        self._busy = True

        def run() -> None:
            failed: Exception | None = None
            try:
                call(data)
            except Exception as error:  # noqa: BLE001 - handed to the worker's thread, which judges it
                failed = error
            self._post(lambda: self._sent(items, failed))

        self._sender.submit(run)

    def _sent(self, items: Sequence[Item], failed: Exception | None) -> None:
        self._busy = False
        if failed is None:
            self._delays = self._retry_delays()
            self._confirm(items)
        else:
            wait_s = next(self._delays)
            if isinstance(failed, EdgeliftError):
                wait_s = after(failed, wait_s)
            self._not_before = self._clock.monotonic() + wait_s
            code = failed.code if isinstance(failed, EdgeliftError) else "internal"
            log.warning("uplink code=%s retry_in_s=%.1f %s", code, wait_s, failed)
            if not items:
                self.report_wanted, self._report_at = True, 0.0
        self.push()

    def _confirm(self, items: Sequence[Item]) -> None:
        try:
            self._outbox.confirm(items)
        except DeviceError as error:
            log.warning("confirmed items stay queued code=%s %s", error.code, error.message)

    def due_in_s(self) -> float | None:
        """Seconds until `push` has something to do; None while it has not."""
        if self._busy or not (self.report_wanted or self.batch_wanted):
            return None
        due = self._not_before if self.batch_wanted else max(self._not_before, self._report_at)
        return due - self._clock.monotonic()

    @property
    def idle(self) -> bool:
        """Is everything sent that should be?"""
        return not (self._busy or self.report_wanted or self.batch_wanted)

    def flush(self) -> None:
        """Before stopping: wait for what is being sent; the rest stays on disk."""
        self._sender.shutdown(wait=True, cancel_futures=True)
