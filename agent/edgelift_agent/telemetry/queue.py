"""What waits for the host: on disk, and in memory for as long as the disk refuses.

Both are an `Outbox`: the one in memory has an epoch of its own, so the host takes items of both and can't mistake
their numbers. What memory holds is bounded by merging, as on disk, and is lost only if the process ends before the
host or the disk has taken it.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.outbox import Database, Notice, Outbox
from edgelift_contract.errors import DeviceError
from edgelift_contract.telemetry import Item

log = logging.getLogger(__name__)

PART = "telemetry"
#: What memory may hold, bytes of JSON: a day of one model's windows, merged.
HELD_BYTES = 512 * 1024


class _Memory:
    """A database that ends with the process."""

    def __init__(self) -> None:
        self.path = Path(":memory:")
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)")


@dataclass(frozen=True)
class Offer:
    """Items to send, of one epoch."""

    epoch: str
    items: list[Item]


class TelemetryQueue:
    """Keeps items until the host has them. Used from the worker's thread only."""

    def __init__(self, database: Database, disk: Disk, epoch: Callable[[], str], degraded: Degraded) -> None:
        """Bind.

        Args:
            database: the journal's.
            disk: by which it is written.
            epoch: name of the database's sequence of numbers.
            degraded: told when items must be held in memory.
        """
        self._disk_box = Outbox(database, disk)
        # Its commits are no durable operations: a plain disk, not the one that faults are tried on.
        self._held, self._held_epoch = Outbox(_Memory(), Disk()), f"memory-{uuid.uuid4().hex[:12]}"
        self._epoch, self._degraded = epoch, degraded

    def add(self, items: Sequence[Notice]) -> None:
        """Keep items; on disk where it takes them, else in memory."""
        try:
            self._disk_box.add(items)
        except DeviceError as error:
            self._degraded.begin(PART, error.code, f"Telemetry is held in memory: {error}")
            self._held.add(items)
            self._held.compact(HELD_BYTES)
        else:
            self._degraded.end(PART)

    def insert(self, items: Sequence[Notice]) -> None:
        """Keep items within a transaction that the caller has open on the database.

        Raises:
            DeviceError: the disk's.
        """
        self._disk_box.insert(items)

    def mend(self) -> None:
        """See whether the disk takes items again; those held in memory go on waiting there, under their own numbers."""
        if any(fault.part == PART for fault in self._degraded.reasons()):
            with contextlib.suppress(DeviceError):
                self._disk_box.try_writing()
                self._degraded.end(PART)

    def peek(self) -> Offer:
        """The oldest items; those in memory when the disk has none or can't be read."""
        try:
            items = self._disk_box.peek()
        except DeviceError as error:
            log.debug("the outbox can't be read: %s", error)
            items = []
        return Offer(self._epoch(), items) if items else Offer(self._held_epoch, self._held.peek())

    def confirm(self, offer: Offer) -> None:
        """Drop items that the host has.

        Raises:
            DeviceError: the disk's; this process will not send them again all the same.
        """
        box = self._held if offer.epoch == self._held_epoch else self._disk_box
        box.confirm(offer.items)

    def bound(self, limit_bytes: int) -> None:
        """Merge windows when more than `limit_bytes` wait on disk, down to three quarters of it."""
        try:
            if self._disk_box.waiting_bytes() > limit_bytes:
                # Down to three quarters, so that it doesn't have to be done again with the next window.
                self._disk_box.compact(limit_bytes * 3 // 4)
        except DeviceError as error:
            log.warning("windows could not be merged code=%s %s", error.code, error.message)

    def waiting(self) -> int:
        """How many items wait, on disk and in memory."""
        try:
            return self._disk_box.waiting() + self._held.waiting()
        except DeviceError:
            return self._held.waiting()
