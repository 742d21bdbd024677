"""What the agent must still know after a power cut, in one SQLite file.

Every change is one transaction, committed with synchronous=FULL before the change is acted on. Slots and
updates are kept as typed records, so that a field may be added with a default and older files still read.

A database that SQLite calls malformed is put aside and begun anew: blobs and artifacts are verified by digest
anyway, and the host's assignment brings back the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from edgelift_agent.system.disk import Disk
from edgelift_agent.update.machine import State
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.report import Outcome
from edgelift_contract.telemetry import SwapRecord

_Row = TypeVar("_Row", bound=msgspec.Struct)

_TABLES = """
CREATE TABLE IF NOT EXISTS records (kind TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
"""


class SlotRow(msgspec.Struct, omit_defaults=True):
    """What a slot has committed to.

    Attributes:
        artifact, model, version: what serves, also after a restart; empty for none.
        serving: number of the generation under which the committed artifact serves.
        generation: highest number that this slot ever gave out; numbers are never used twice.
        previous, previous_version: what served before, kept on disk for a rollback.
        since: wall clock at which the committed artifact began to serve.
        starts: starts of the process with this artifact that did not end cleanly or live long.
        pinned: a person asked for this slot to be left alone.
    """

    artifact: str = ""
    model: str = ""
    version: str = ""
    serving: int = 0
    generation: int = 0
    previous: str = ""
    previous_version: str = ""
    since: float = 0.0
    starts: int = 0
    pinned: bool = False


class UpdateRow(msgspec.Struct, omit_defaults=True):
    """The update under way in a slot, or the last one.

    Attributes:
        desired: what the assignment asked for.
        revision: of that assignment.
        state: see `machine.State`; written before the state's step acts.
        attempts: how often this desire was begun.
        rollbacks: how often rolling back was tried.
        outcome, code, message, finished_at: how it ended.
        failed_in: the state whose step failed.
        observed_s: probation already passed before a clean stop, seconds.
        requests, errors: served in probation.
        fetched_bytes: over the link.
        wrong_bytes: digest of a blob → how often it came whole and with another digest.
        record: the swap record as far as it is known.
    """

    desired: SlotAssignment
    revision: int
    state: str = "idle"
    attempts: int = 0
    rollbacks: int = 0
    outcome: Outcome = "none"
    code: str = ""
    message: str = ""
    failed_in: str = ""
    finished_at: float = 0.0
    observed_s: float = 0.0
    requests: int = 0
    errors: int = 0
    fetched_bytes: int = 0
    wrong_bytes: dict[str, int] = {}
    record: SwapRecord | None = None


class Meta(msgspec.Struct, omit_defaults=True):
    """The one record of the whole device.

    Attributes:
        assignment: newest accepted assignment, as it came.
        revision_seen, revision_applied: its revision, and the newest carried out to the end.
        starts: how often the process started.
        clean: was the last stop a clean one.
        floors: model → highest release counter ever committed.
        outbox: name of this file's sequence of telemetry items, made once; numbers are unique within it.
    """

    assignment: bytes = b""
    revision_seen: int = 0
    revision_applied: int = 0
    starts: int = 0
    clean: bool = True
    floors: dict[str, int] = {}
    outbox: str = ""


class Journal:
    """The records, read once at start and written through. Used from the worker's thread only."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """Open or create the file.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`.
        """
        self.path = path
        self._disk = disk
        self.recovered = False
        try:
            with disk.operation("open", path):  # maps all but a damaged file
                self.connection = self._open()
        except sqlite3.DatabaseError:
            self.recovered = True
            for suffix in ("-wal", "-shm"):
                disk.unlink(path.with_name(path.name + suffix))
            disk.rename(path, path.with_name(path.name + ".damaged"))
            self.connection = self._open()
        self.meta = self._get("meta", "", Meta) or Meta()
        self.slots = self._all("slot", SlotRow)
        self.updates = self._all("update", UpdateRow)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_TABLES)
            connection.execute("SELECT count(*) FROM records").fetchone()
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes within are durable together on leaving, or not at all.

        The records in memory (`meta`, `slots`, `updates`) are put back to what the file holds on failure.

        Raises:
            DeviceError: `disk-full`, `read-only` or `disk-error`.
        """
        self._disk.begin(self.connection, self.path)
        try:
            yield
            self._disk.commit(self.connection, self.path)
        except BaseException:
            self.connection.rollback()
            self.meta = self._get("meta", "", Meta) or Meta()
            self.slots = self._all("slot", SlotRow)
            self.updates = self._all("update", UpdateRow)
            raise

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
        with self._disk.operation("record", self.path):
            self.connection.execute("DELETE FROM records WHERE kind IN ('slot', 'update') AND key = ?", (slot,))

    def kept(self) -> set[str]:
        """Artifacts that may not be cleaned up: committed, previous, or wanted by an update under way."""
        kept = {artifact for row in self.slots.values() for artifact in (row.artifact, row.previous)}
        kept |= {update.desired.artifact for update in self.updates.values() if update.state != State.IDLE}
        return kept - {""}

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _put(self, kind: str, key: str, value: msgspec.Struct) -> None:
        with self._disk.operation("record", self.path):
            self.connection.execute(
                "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                (kind, key, msgspec.json.encode(value)),
            )

    def _get(self, kind: str, key: str, model: type[Meta]) -> Meta | None:
        row = self.connection.execute(
            "SELECT body FROM records WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return msgspec.json.decode(row[0], type=model) if row else None

    def _all(self, kind: str, model: type[_Row]) -> dict[str, _Row]:
        rows = self.connection.execute("SELECT key, body FROM records WHERE kind = ?", (kind,)).fetchall()
        return {key: msgspec.json.decode(body, type=model) for key, body in rows}
