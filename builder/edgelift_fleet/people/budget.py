"""So many at once and so many in the long run; how many were too many is told with the next one that isn't."""

from __future__ import annotations

import threading


class LogBudget:
    """A bucket that fills by and by. Safe to use from several threads."""

    def __init__(self, *, burst: int, every_s: float) -> None:
        """Bind: `burst` at once, then one each `every_s` seconds."""
        self._burst, self._every_s = float(burst), every_s
        self._left, self._at, self._left_out = float(burst), 0.0, 0
        self._lock = threading.Lock()

    def take(self, now: float) -> int | None:
        """One more: None when it is too many, else how many were since the last that wasn't."""
        with self._lock:
            passed_s = max(0.0, now - self._at) if self._at else 0.0
            self._left, self._at = min(self._burst, self._left + passed_s / self._every_s), now
            if self._left < 1:
                self._left_out += 1
                return None
            self._left -= 1
            told, self._left_out = self._left_out, 0
            return told
