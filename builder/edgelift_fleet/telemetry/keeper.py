"""The thread that sums what came and forgets what is old, for as long as a server runs.

It takes the database's write lock for short times only, and pauses as long as it worked, so that devices' reports and
people's commands go between. What it can't do now it does later: readers never depend on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.db import ROWS, Scope
from edgelift_fleet.tables import TelemetryPendingRow
from edgelift_fleet.telemetry.fold import AT_ONCE, fold
from edgelift_fleet.telemetry.retention import Ages, sweep
from edgelift_fleet.telemetry.warming import Warming

log = logging.getLogger(__name__)

#: How often what came is summed, seconds. Longer makes it cheaper, for a device's windows of that time are joined
#: first; and every question slower, for it adds what still waits.
FOLD_EVERY_S = 30.0
#: Sooner where so many wait, looked at so often, seconds: a fleet that was away brings a month in a minute, and every
#: question adds up what waits.
FOLD_AT, LOOK_EVERY_S = 5000, 2.0
SWEEP_EVERY_S = 3600.0
#: Sums of cohorts are made for so long before what came is looked at again, seconds.
WARM_S = 10.0


class Keeper:
    """The thread, as a context."""

    def __init__(
        self, read: Callable[[], AbstractContextManager[Session]],
        write: Callable[[Scope], AbstractContextManager[Session]], ages: Ages, *,
        active: Callable[[], bool] = lambda: True, warming: Warming | None = None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            read: a session for reading, as `Database.read`.
            write: a write transaction of the database, as `Database.write`.
            ages: how long what is kept.
            active: is it this server's turn, where several share a database?
            warming: makes the sums of cohorts that are asked for.
        """
        self._warming = warming
        self._read, self._write, self._ages, self._active = read, write, ages, active
        self._cold = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        swept = folded = time.monotonic()
        while not self._stopping.wait(min(LOOK_EVERY_S, FOLD_EVERY_S)):
            self._note()
            due = time.monotonic() - folded >= FOLD_EVERY_S
            if not self._active():
                continue
            if not (due or self.is_behind()):
                self.warm(WARM_S)
                continue
            self.fold_all()
            folded = time.monotonic()
            self._cold = True  # an hour or a day may have begun
            if time.monotonic() - swept > SWEEP_EVERY_S:
                swept = time.monotonic()
                self.sweep_all()

    def _note(self) -> None:
        """Write which cohorts were asked for."""
        try:
            if self._warming is not None and self._warming.note(time.time()):
                self._cold = True
        except EdgeliftError as error:
            log.warning("what was asked for was not noted code=%s %s", error.code, error.message)

    def warm(self, at_most_s: float) -> bool:
        """Make sums of cohorts, for so long at most; whether all are there."""
        began = time.monotonic()
        try:
            while self._warming is not None and self._cold and not self._stopping.is_set():
                at = time.monotonic()
                self._cold = self._warming.make_some(time.time())
                if time.monotonic() - began > at_most_s:
                    break
                self._stopping.wait(min(time.monotonic() - at, 1.0))
        except EdgeliftError as error:
            log.warning("cohorts were not summed code=%s %s", error.code, error.message)
        return not self._cold

    def is_behind(self) -> bool:
        """Do so many windows wait that they should not wait longer?"""
        try:
            with self._read() as session:
                row = TelemetryPendingRow.series
                return session.scalar(sa.select(row).offset(FOLD_AT).limit(1)) is not None
        except EdgeliftError:
            return False  # summing tells of it, in its turn

    def fold_all(self) -> int:
        """Sum what waits; how many windows."""
        return self._repeat("summed", fold, AT_ONCE)

    def sweep_all(self) -> int:
        """Forget what is old; how many rows."""
        return self._repeat("forgotten", lambda session: sweep(session, self._ages), 1)

    def _repeat(self, word: str, step: Callable[[Session], int], enough: int) -> int:
        done = 0
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                with self._write(ROWS) as session:
                    number = step(session)
                done += number
                if number < enough:
                    break
                self._stopping.wait(min(time.monotonic() - began, 1.0))
        except EdgeliftError as error:
            log.warning("telemetry was not %s code=%s %s", word, error.code, error.message)
        if done:
            log.info("telemetry was %s rows=%d", word, done)
        return done
