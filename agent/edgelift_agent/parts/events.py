"""What befalls this device, told to the host beside its reports: queued at once, sent with a batch."""

from __future__ import annotations

from collections.abc import Callable

from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_contract.telemetry import DeviceEvent


class Events:
    """Bound to the agent's queue."""

    def __init__(
        self,
        queue: TelemetryQueue,
        clock: Clock,
        post: Callable[[Callable[[], None]], None],
        want_batch: Callable[[], None],
    ) -> None:
        """Bind.

        Args:
            queue: of what waits to be sent.
            clock: for when it happened.
            post: has something done on the worker's thread.
            want_batch: asks that what waits be sent now; on the worker's thread.
        """
        self._queue, self._clock, self._post, self._want_batch = queue, clock, post, want_batch

    def add(self, kind: str, message: str, code: str = "") -> None:
        """Queue an event for the next batch; on the worker's thread."""
        self._queue.add([DeviceEvent(at=self._clock.now(), kind=kind, message=message, code=code)])

    def tell(self, kind: str, message: str, code: str = "") -> None:
        """Queue an event and ask for a batch; from any thread."""

        def told() -> None:
            self.add(kind, message, code)
            self._want_batch()

        self._post(told)
