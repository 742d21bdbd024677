"""The journal: the records in memory, and every change of them durable before it is acted on.

Every change is one transaction, committed with synchronous=FULL. Where the state database can't be opened for
writing, the records are read as well as they can be (from a copy, else from `committed.json`) and every transaction
fails with the reason until `reopen` succeeds: what is committed serves meanwhile. A database that can't be read is put
aside and begun anew: blobs and artifacts are verified by digest anyway, `committed.json` brings back the slots, and
the host's assignment the rest.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk, mapped_errors
from edgelift_agent.update import state_db
from edgelift_agent.update.committed import CommittedFile
from edgelift_agent.update.records import Meta, Records, SlotRow, UpdateRow, kept_artifacts
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

#: Names in `Degraded`.
PART, SECOND_PART = "journal", "committed-file"


class Journal:
    """The records, read at start and written through. Used from the worker's thread only.

    Attributes:
        recovered: a damaged database was put aside.
        lost: records that could not be read, in words.
    """

    def __init__(self, path: Path, disk: Disk, degraded: Degraded) -> None:
        """Open or create the file; a disk that refuses is stated in `degraded`, not raised."""
        self.path, self._disk, self._degraded = path, disk, degraded
        self._committed = CommittedFile(path.with_name("committed.json"), disk)
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._is_lost = False
        self._barred: DeviceError | None = None
        self._fault = DeviceError("disk-error", f"The state database {path} is not open.")
        self._records = Records()
        self._stored: dict[tuple[str, str], bytes] = {}
        self._pending: dict[tuple[str, str], bytes | None] = {}
        self._ahead: set[str] = set()
        self.recovered = False
        with contextlib.suppress(DeviceError):
            self.reopen()

    @property
    def meta(self) -> Meta:
        """The one record of the whole device."""
        return self._records.meta

    @property
    def slots(self) -> dict[str, SlotRow]:
        """What each slot has committed to."""
        return self._records.slots

    @property
    def updates(self) -> dict[str, UpdateRow]:
        """Each slot's update under way, or its last one."""
        return self._records.updates

    @property
    def lost(self) -> list[str]:
        """Records that could not be read, in words."""
        return self._records.lost

    def told(self) -> dict[str, Any]:
        """The records, for people."""
        meta = msgspec.structs.replace(self.meta, assignment=b"")
        return {"meta": meta, "assignment": self.meta.assignment.decode("utf-8", "replace"), "slots": self.slots,
                "updates": self.updates, "lost": self.lost, "writable": self.writable}  # fmt: skip

    @property
    def writable(self) -> bool:
        """Is the database open for writing? (The disk may refuse a transaction all the same.)"""
        return self._connection is not None

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database, which the outbox shares.

        Raises:
            DeviceError: why it is not open.
        """
        if self._connection is None:
            raise self._fault
        return self._connection

    def reopen(self) -> None:
        """Open the database if it is not, and read it; else see whether it can be written.

        Raises:
            DeviceError: why it can't be; the records are then what could be read of them.
        """
        if self._connection is not None:
            with self.transaction():
                self.save_meta()
            return
        if self._barred is not None:
            raise self._barred
        try:
            self._connection = self._begin_anew() if self._is_lost else self._open()
        except DeviceError as error:
            self._fault = error
            self._degraded.begin(PART, error.code, str(error))
            if not self._is_lost:
                self._take(self._read_only())
            raise
        self._opened, is_new, self._is_lost = state_db.which(self.path), self._is_lost, False
        self._degraded.end(PART)
        if self.lost or is_new:
            self._mend()

    def look_again(self) -> None:
        """Notice that the file was removed, or another put in its place, while it was open: what is written to it then is
        gone with this process. The records in memory are what runs here; they go into a new file.
        """
        if self._connection is None or state_db.which(self.path) == self._opened:
            return
        log.error("%s was removed or replaced under this agent; its records are written again", self.path)
        self._leave()
        with contextlib.suppress(DeviceError):
            self.reopen()

    def bar(self, reason: DeviceError | None) -> None:
        """Leave the file alone for as long as there is a reason: it is another agent's by now. None: it is ours."""
        self._barred = reason
        if reason is not None and self._connection is not None:
            self._leave()
            self._fault = reason
            self._degraded.begin(PART, reason.code, str(reason))

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._is_lost = None, True

    def _begin_anew(self) -> sqlite3.Connection:
        """A new file for the records in memory; whatever has its name is put aside."""
        if state_db.which(self.path) is not None:
            state_db.put_aside(self.path, self._disk)
        connection = state_db.open_database(self.path, self._disk)
        self.meta.outbox = uuid.uuid4().hex[:12]  # its numbers begin anew
        return connection

    def _open(self) -> sqlite3.Connection:
        try:
            connection = state_db.open_database(self.path, self._disk)
            records = state_db.read_records(connection, self.path)
        except DeviceError as error:
            if error.code != "state-damaged":
                raise
            log.error("%s It is put aside.", error)
            state_db.put_aside(self.path, self._disk)
            connection = state_db.open_database(self.path, self._disk)
            records = self._committed.read() or Records()
            records.lost.append("the state database")
            self.recovered = True
        else:
            records = self._if_emptied(records)
        self._take(records)
        return connection

    def _if_emptied(self, records: Records) -> Records:
        """What is committed, where the database is new or was emptied and the second file knows more."""
        second = self._committed.read() if records.meta.starts == 0 and not records.slots else None
        if second is None or not second.slots:
            return records
        log.error("%s is empty; %s says what is committed", self.path, "committed.json")
        second.lost.append("the state database")
        return second

    def _read_only(self) -> Records:
        try:
            with state_db.copied(self.path) as connection:
                return state_db.read_records(connection, self.path)
        except DeviceError as error:
            log.error("%s The second file says what is committed.", error)
            return self._committed.read() or Records()

    def _take(self, records: Records) -> None:
        lost = [name.removeprefix("slot ") for name in records.lost if name.startswith("slot ")]
        second = (self._committed.read() or Records()) if records.lost else Records()
        records.slots.update({name: second.slots[name] for name in lost if name in second.slots})
        for model, floor in second.meta.floors.items():  # nothing lowers one, a damaged disk neither
            records.meta.floors[model] = max(floor, records.meta.floors.get(model, 0))
        self._records = records
        self._stored = {("meta", ""): msgspec.json.encode(records.meta)}
        self._stored |= {("slot", name): msgspec.json.encode(row) for name, row in records.slots.items()}
        self._stored |= {("update", name): msgspec.json.encode(row) for name, row in records.updates.items()}

    def _mend(self) -> None:
        """Write what was recovered, and drop what can't be read, so that the next start finds a whole database."""
        with self.transaction():
            for name in self.lost:
                kind, _, key = name.partition(" ")
                self.connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
            self.save_meta()
            for slot, row in self.slots.items():
                self.save_slot(slot, row)
            for slot, update in self.updates.items():
                self.save_update(slot, update)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes within are durable together on leaving, or not at all.

        The records in memory (`meta`, `slots`, `updates`) are put back to what the file holds on failure, but for
        those that ran ahead of it.

        Raises:
            DeviceError: the disk's, or why the database is not open.
        """
        connection = self.connection
        try:
            self._disk.begin(connection, self.path)
            with mapped_errors("write", self.path):
                yield
            self._disk.commit(connection, self.path)
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            self._put_back()
            if isinstance(error, DeviceError):
                self._degraded.begin(PART, error.code, str(error))
            raise
        for key, body in self._pending.items():
            if body is None:
                self._stored.pop(key, None)
            else:
                self._stored[key] = body
        self._ahead -= {key for kind, key in self._pending if kind == "update"}
        self._pending = {}
        self._degraded.end(PART)
        self._write_second()

    def _write_second(self) -> None:
        try:
            self._committed.write(self._records)
        except DeviceError as error:
            self._degraded.begin(SECOND_PART, error.code, str(error))
        else:
            self._degraded.end(SECOND_PART)

    def _put_back(self) -> None:
        self._pending = {}
        back = Records(lost=self._records.lost)
        for (kind, key), body in self._stored.items():
            if kind == "meta":
                back.meta = msgspec.json.decode(body, type=Meta)
            elif kind == "slot":
                back.slots[key] = msgspec.json.decode(body, type=SlotRow)
            else:
                back.updates[key] = msgspec.json.decode(body, type=UpdateRow)
        for slot in self._ahead:
            back.updates[slot] = self.updates[slot]
        self._records = back

    def run_ahead(self, slot: str, row: UpdateRow) -> None:
        """Take an update's record in memory alone, for what may not wait for the disk: undoing.

        What the file says leads to a rollback as well. The next transaction that saves this update catches up.
        """
        self.updates[slot] = row
        self._ahead.add(slot)

    def save_meta(self) -> None:
        """Write `meta`; inside a transaction."""
        self._put("meta", "", self.meta)

    def save_slot(self, slot: str, row: SlotRow) -> None:
        """Write a slot's record; inside a transaction."""
        self.slots[slot] = row
        self._put("slot", slot, row)

    def save_update(self, slot: str, row: UpdateRow) -> None:
        """Write an update's record; inside a transaction."""
        self.updates[slot] = row
        self._put("update", slot, row)

    def drop_slot(self, slot: str) -> None:
        """Forget a slot and its update; inside a transaction."""
        self.slots.pop(slot, None)
        self.updates.pop(slot, None)
        self._pending |= {("slot", slot): None, ("update", slot): None}
        with self._disk.operation("record", self.path):
            self.connection.execute("DELETE FROM records WHERE kind IN ('slot', 'update') AND key = ?", (slot,))

    def _put(self, kind: str, key: str, value: msgspec.Struct) -> None:
        self._pending[kind, key] = body = msgspec.json.encode(value)
        self.connection.execute(
            "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
            (kind, key, body),
        )

    def kept(self) -> set[str]:
        """Artifacts that may not be cleaned up: committed, previous, or wanted by an update under way."""
        return kept_artifacts(self._records)

    def migrate(self) -> None:
        """Bring the database to this agent's form, once it has shown that it works.

        Raises:
            DeviceError: the disk's; it is tried again at the next start.
        """
        state_db.migrate(self.connection, self.path, self._disk)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
