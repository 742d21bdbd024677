"""A log that a misbehaving client, link or disk can't flood: the same message a few times a minute, then a count."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

#: Lines of one message in one period, seconds; six hundred of them an hour tell as much as sixty thousand.
MOST, PERIOD_S = 10, 60.0
#: Different messages that are counted at once; beyond them the oldest is forgotten.
REMEMBERED = 256


class QuietLog(logging.Filter):
    """For a handler: lets a message's first lines in each period through, and says how many it kept back.

    Messages are the same by their template and where they were logged, whatever was put into them. Only warnings and
    worse are counted: what is merely told is told once for each thing that the agent does, not for what is done to it.
    """

    def __init__(
        self, most: int = MOST, period_s: float = PERIOD_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._most, self._period_s, self._now = most, period_s, now
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # message → its period's begin, lines seen in it

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if record.levelno < logging.WARNING:
            return True
        message = (record.name, str(record.msg)[:200])
        now = self._now()
        with self._lock:
            begun, seen = self._seen.pop(message, (now, 0))
            left_out = 0
            if now - begun >= self._period_s:
                left_out, begun, seen = max(0, seen - self._most), now, 0
            self._seen[message] = (begun, seen + 1)
            if len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it since)", None
        return seen < self._most


def quieten(logger: logging.Logger | None = None) -> None:
    """Have every handler of a logger, the root's by default, keep repetitions back."""
    quiet = QuietLog()
    for handler in (logger or logging.getLogger()).handlers:
        handler.addFilter(quiet)
