"""When to ask for a fresh signature though nothing changed, and when it is to be said that none comes.

Who holds back what is new leaves a device with what it has: nothing that is signed and old tells of it. So a device asks
once a day for its assignment as if it had none, with its nonce, and only who can sign can answer that. No clock decides
alone: one that stands in 1970 or 2038 at each start is compared with itself, and time that passes in this process counts
in any case.
"""

from __future__ import annotations

import random
import threading

from edgelift_agent.system.clock import Clock

DAY_S = 86400.0
#: How long the last fresh answer may lie back until that is told, seconds: as long as the director signs for.
STALE_S = 7 * DAY_S
#: A question that was not answered is asked again after so long, seconds: one for the daily answer, and one without which an
#: update can't go on.
AGAIN_S, SOON_S = 3600.0, 60.0
#: Where the clock is behind the last answer nobody can tell how old that is: after so long without one it is told, seconds.
_UNKNOWN_S = DAY_S
#: A clock may be set back by so much without being taken for a wrong one, seconds.
_SET_BACK_S = 3600.0


class Freshness:
    """Counts from one fresh answer to the next; safe to use from several threads."""

    def __init__(self, clock: Clock, heard_at: float) -> None:
        """Begin.

        Args:
            clock: of this device.
            heard_at: what it showed when the last fresh answer came, seconds since 1970; 0 for never, and then one is
                wanted at once.
        """
        self._clock, self.heard_at = clock, heard_at
        self._lock = threading.Lock()
        self._since = clock.monotonic()
        self._wanted, self._not_before = heard_at == 0, 0.0
        self._asked_first: float | None = None
        self._every_s = _spread(DAY_S)

    def heard(self) -> None:
        """A fresh answer came."""
        with self._lock:
            self.heard_at, self._since = self._clock.now(), self._clock.monotonic()
            self._wanted, self._not_before, self._asked_first = False, 0.0, None
            self._every_s = _spread(DAY_S)

    def want(self) -> None:
        """Ask soon: something can't go on without."""
        with self._lock:
            self._wanted = True

    def is_due(self) -> bool:
        """Is it time to ask?"""
        with self._lock:
            if self._clock.monotonic() < self._not_before:
                return False
            return self._wanted or self._age_s() >= self._every_s or self._is_unknown()

    def asked(self) -> None:
        """It is being asked, on whichever link."""
        with self._lock:
            now = self._clock.monotonic()
            self._asked_first = now if self._asked_first is None else self._asked_first
            self._not_before = now + _spread(SOON_S if self._wanted else AGAIN_S)

    @property
    def is_asked(self) -> bool:
        """Was it asked, and not answered yet?"""
        return self._asked_first is not None

    def stale_s(self) -> float | None:
        """How long no fresh answer came though it was asked for, seconds; None while that is no reason for concern."""
        with self._lock:
            if self._asked_first is None or not self.heard_at:
                return None
            waited_s = self._clock.monotonic() - self._asked_first
            if self._is_unknown() and waited_s >= _UNKNOWN_S:
                return max(waited_s, self._age_s())
            return self._age_s() if waited_s >= AGAIN_S and self._age_s() >= STALE_S else None

    def _age_s(self) -> float:
        return max(self._clock.monotonic() - self._since, self._clock.now() - self.heard_at)

    def _is_unknown(self) -> bool:
        return self.heard_at > 0 and self._clock.now() < self.heard_at - _SET_BACK_S


def _spread(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.0)  # noqa: S311 - spreading load, not guarding a secret
