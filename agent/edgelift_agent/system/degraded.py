"""What is broken around the agent while it goes on serving: said everywhere, and taken back when it is over.

A part of the agent that meets a fault it can live with (a full disk, a clock in 1970, no descriptors left) states
it here under its own name; status, health, report, metrics and doctor read it. Nothing here decides or retries.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edgelift_agent.system.clock import Clock
from edgelift_contract.report import Degradation

log = logging.getLogger(__name__)


class Degraded:
    """The faults that the agent lives with now; safe to use from several threads."""

    def __init__(self, clock: Clock, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called, from whichever thread met the change, when a fault begins or ends."""
        self._clock, self.on_change = clock, on_change
        self._lock = threading.Lock()
        self._faults: dict[str, Degradation] = {}

    def begin(self, part: str, code: str, message: str) -> None:
        """State a fault of a part, as `("journal", "disk-full", "No space left …")`; the same one twice is one."""
        with self._lock:
            before = self._faults.get(part)
            if before is not None and before.code == code:
                return
            self._faults[part] = Degradation(part, code, message[:500], self._clock.now())
        log.error("degraded: part=%s code=%s %s", part, code, message)
        self.on_change()

    def end(self, part: str) -> None:
        """The part works again; does nothing when nothing was wrong with it."""
        with self._lock:
            gone = self._faults.pop(part, None)
        if gone is not None:
            log.warning("no longer degraded: part=%s code=%s", part, gone.code)
            self.on_change()

    def reasons(self) -> list[Degradation]:
        """The faults of now, by part."""
        with self._lock:
            return [self._faults[part] for part in sorted(self._faults)]
