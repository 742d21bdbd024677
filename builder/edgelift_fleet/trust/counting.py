"""The director's counter: versions that were never given before, by whichever server and whatever its clock shows.

It counts milliseconds since 1970, so that a site that was restored from a backup is ahead of its devices by itself, and
several servers whose clocks agree count alike. What may have been given is written down ahead, a minute at a time: one
that is started with a clock that was set back goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edgelift_fleet.db import SITE, Database
from edgelift_fleet.tables import ControlRow

_NAME = "director-version"
#: What is reserved at once, milliseconds.
_AHEAD_MS = 60_000
#: Servers' clocks may differ so much.
_SKEW_MS = 5_000


class Counting:
    """Gives versions. Safe to use from several threads."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = db, now
        self._lock = threading.Lock()
        self._last, self._reserved = -1, -1

    def next(self) -> int:
        """A version above every one before; about the time, in milliseconds.

        Raises:
            TransportError, DeviceError: the database's, when more must be reserved.
        """
        with self._lock:
            wanted = max(int(self._now() * 1000), self._last + 1)
            if wanted > self._reserved:
                wanted = self._reserve(wanted)
            self._last = wanted
            return wanted

    def _reserve(self, wanted: int) -> int:
        with self._db.write(SITE) as session:
            row = session.get(ControlRow, _NAME)
            written = int(row.value) if row is not None and row.value.isdigit() else 0
            # What another server, or this one a moment ago, has written ahead is no reason to be ahead of it.
            first = wanted if written <= wanted + _AHEAD_MS + _SKEW_MS else written + 1
            session.merge(ControlRow(name=_NAME, value=str(max(written, first + _AHEAD_MS))))
        self._reserved = first + _AHEAD_MS
        return first
