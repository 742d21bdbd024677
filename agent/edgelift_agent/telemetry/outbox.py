"""Telemetry that waits for the host, in a database: at least once, in order, bounded.

Items get a sequence number that SQLite never hands out twice; the host drops what it has seen by
(device, epoch, seq). An item goes when the host has confirmed it, not before; one whose confirmation the disk
would not take is remembered as confirmed and is not sent again by this process.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from edgelift_agent.system.disk import Disk, mapped_errors
from edgelift_agent.telemetry.compact import compact
from edgelift_contract.fitting import fit
from edgelift_contract.telemetry import DeviceEvent, Gauges, Item, SwapRecord, Window

#: One batch's worth, bytes of JSON: well below what brokers take in one packet.
BATCH_BYTES = 64 * 1024

Notice = Window | Gauges | SwapRecord | DeviceEvent


class Database(Protocol):
    """An open database with the table `outbox`, as the journal is."""

    path: Path

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection.

        Raises:
            DeviceError: why it is not open.
        """


class Outbox:
    """Items in a database. Used from the worker's thread only."""

    def __init__(self, database: Database, disk: Disk) -> None:
        self._database, self._path, self._disk = database, database.path, disk
        self._confirmed_through = 0

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._database.connection

    def compact(self, limit_bytes: int) -> int:
        """Merge neighbouring windows until what waits fits; returns how many items went.

        The oldest batch is left alone: it may be on its way, and what the host has seen under one number must
        not come again under another.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`; then nothing changed.
        """
        gone = 0
        while self.waiting_bytes() > limit_bytes:
            offered = {item.seq for item in self.peek()}
            with mapped_errors("read", self._path):
                rows = self._connection.execute("SELECT seq, body FROM outbox ORDER BY seq").fetchall()
            items = [msgspec.structs.replace(msgspec.json.decode(body, type=Item), seq=seq) for seq, body in rows]
            changes = compact([item for item in items if item.seq not in offered])
            if not changes:
                break
            with self._transaction("compact"), self._disk.operation("record compact", self._path):
                for old, new in changes:
                    self._connection.executemany("DELETE FROM outbox WHERE seq = ?", [(item.seq,) for item in old])
                    if new is not None:
                        self._connection.execute(
                            "INSERT INTO outbox (body) VALUES (?)", (msgspec.json.encode(fit(new)),)
                        )
            gone += sum(len(old) - (new is not None) for old, new in changes)
        return gone

    def waiting_bytes(self) -> int:
        """How many bytes of items wait."""
        with mapped_errors("read", self._path):
            found = self._connection.execute("SELECT coalesce(sum(length(body)), 0) FROM outbox").fetchone()
        return int(found[0])

    def add(self, items: Sequence[Notice]) -> None:
        """Keep items until they are confirmed; durable on return.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`; then none of them is kept.
        """
        if items:
            with self._transaction("items"):
                self.insert(items)

    def insert(self, items: Sequence[Notice]) -> None:
        """The same within a transaction that the caller has open on the same file."""
        rows = [(msgspec.json.encode(fit(_wrap(item))),) for item in items]
        with self._disk.operation("record items", self._path):
            self._connection.executemany("INSERT INTO outbox (body) VALUES (?)", rows)

    def try_writing(self) -> None:
        """Write something and take it back, to learn whether the disk takes items again.

        Raises:
            DeviceError: it does not.
        """
        with self._transaction("items"), self._disk.operation("record items", self._path):
            self._connection.execute("INSERT INTO outbox (seq, body) VALUES (0, zeroblob(4096))")
            self._connection.execute("DELETE FROM outbox WHERE seq = 0")

    def peek(self, limit_bytes: int = BATCH_BYTES) -> list[Item]:
        """The oldest items, as many as fit into `limit_bytes`, at least one; empty when nothing waits."""
        items: list[Item] = []
        size = 0
        query = "SELECT seq, body FROM outbox WHERE seq > ? ORDER BY seq LIMIT 1000"
        with mapped_errors("read", self._path):
            for seq, body in self._connection.execute(query, (self._confirmed_through,)):
                size += len(body)
                if items and size > limit_bytes:
                    break
                items.append(msgspec.structs.replace(msgspec.json.decode(body, type=Item), seq=seq))
        return items

    def confirm(self, items: Sequence[Item]) -> None:
        """Drop items that the host has.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`; only a restart will send them again, which is
                harmless.
        """
        if items:
            self._confirmed_through = max(self._confirmed_through, *(item.seq for item in items))
            with self._transaction("confirm"), self._disk.operation("record confirm", self._path):
                # All before it were confirmed too, some of them perhaps when the disk could not be written.
                self._connection.execute("DELETE FROM outbox WHERE seq <= ?", (self._confirmed_through,))

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        self._disk.begin(self._connection, self._path, what)
        try:
            yield
            self._disk.commit(self._connection, self._path, what)
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
            raise

    def waiting(self) -> int:
        """How many items wait."""
        with mapped_errors("read", self._path):
            return int(self._connection.execute("SELECT count(*) FROM outbox").fetchone()[0])


def _wrap(item: Notice) -> Item:
    if isinstance(item, Window):
        return Item(seq=0, window=item)
    if isinstance(item, Gauges):
        return Item(seq=0, gauges=item)
    if isinstance(item, SwapRecord):
        return Item(seq=0, swap=item)
    return Item(seq=0, event=item)
