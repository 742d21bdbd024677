"""Whether the control plane could hear its boards all the time, by the clock that their deadlines are counted by.

A board that says nothing is late only if somebody listened. Nobody does while the server is down or its database is away;
and a clock that jumps (a host without one of its own learns the time some minutes after it has started) makes an hour of a
moment. From the end of such a gap on each board has its whole time again: see `LastSeen.listening_since`.
"""

from __future__ import annotations

import time

from edgelift_fleet.devices import GAP_S


def steady() -> float:
    """Seconds from an arbitrary start, which no change of the clock moves."""
    return time.monotonic()


class Hearing:
    """What one who looks now and then can tell of gaps between its looks."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._deaf_since: float | None = None

    def failed(self) -> None:
        """A look was not possible."""
        if self._deaf_since is None:
            self._deaf_since = steady()

    def looked(self, now: float) -> bool:
        """A look is made; True when there was a gap before it: the clock jumped, or none was possible for long.

        Args:
            now: what the clock says, seconds since 1970.
        """
        at = steady()
        deaf, jumped = self._deaf_since, self._ahead is not None and abs(now - at - self._ahead) > GAP_S
        self._ahead, self._deaf_since = now - at, None
        return jumped or (deaf is not None and at - deaf > GAP_S)
