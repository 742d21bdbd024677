"""When the host is told which assignment this device holds, by its digest: later and later while it changes again and again.

A host that hears another digest than its assignment's gives that a higher number. Where a path alters every assignment
that would go on for ever, as fast as the two can talk: so all but the first of a series are told after a delay. What
the device does and reports, and a new assignment, wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgelift_agent.system.clock import Clock

#: An assignment that stood for so long after it was told ends the series, seconds.
STEADY_S = 60.0


class Telling:
    """One device's. Used from the worker's thread, but for `may_tell`."""

    def __init__(self, clock: Clock, delays: Callable[[], Iterator[float]]) -> None:
        """Bind; `delays` are those of a series, seconds."""
        self._clock, self._new_delays = clock, delays
        self._delays: Iterator[float] | None = None
        self._due = 0.0
        self._owed = False

    def changed(self) -> None:
        """Another assignment is held from now on."""
        now = self._clock.monotonic()
        if self._delays is None or now - self._due > STEADY_S:
            self._delays, self._due = self._new_delays(), now
            return
        self._due, self._owed = now + next(self._delays), True

    @property
    def may_tell(self) -> bool:
        """May the digest be told now? From any thread."""
        return self._clock.monotonic() >= self._due

    def due_in_s(self) -> float | None:
        """Seconds until what was kept back is to be told; None when nothing is."""
        return max(0.0, self._due - self._clock.monotonic()) if self._owed else None

    def told(self) -> None:
        """What was kept back is on its way."""
        self._owed = False
