"""The state database: one SQLite file, opened for writing where the disk allows it, else read from a copy.

`user_version` names the form of the tables. A file of a newer agent is not written; an older one is written in its
own form until `migrate`, which is called once this agent has shown that it works, so that the agent before it can
still be started on the file. Form 0 has the same tables as form 1 and no number.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from edgelift_agent.system.disk import Disk, copied_to_memory, mapped_errors
from edgelift_agent.update.machine import State
from edgelift_agent.update.records import Meta, Records, SlotRow, UpdateRow
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

_Record = TypeVar("_Record", bound=msgspec.Struct)

FORM = 1
#: How long another program's lock is waited for, seconds: all that the agent decides waits meanwhile, and what could not
#: be written is tried again with back-off anyway.
BUSY_S = 0.25
_TABLES = """
CREATE TABLE IF NOT EXISTS records (kind TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
"""


def open_database(path: Path, disk: Disk) -> sqlite3.Connection:
    """Open or create the file for writing.

    Raises:
        DeviceError: `disk-full`, `read-only`, `disk-error`, `state-damaged` or `newer-state`.
    """
    with disk.operation("open", path):
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        fresh = not path.exists()
        connection = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _refuse_newer(connection, path)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_TABLES)
            connection.execute("SELECT count(*) FROM records").fetchone()
            if fresh:
                connection.execute(f"PRAGMA user_version={FORM}")
        except BaseException:
            connection.close()
            raise
    return connection


def which(path: Path) -> tuple[int, int] | None:
    """What tells the file of that name from every other that may come to have it; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    form = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if form > FORM:
        raise DeviceError(
            "newer-state",
            f"{path} has form {form}; this agent knows up to {FORM}: a newer agent wrote it.",
            hint="Install that agent again; until then what is committed serves and nothing is updated.",
        )


def migrate(connection: sqlite3.Connection, path: Path, disk: Disk) -> None:
    """Bring an older file to this agent's form; does nothing when it has it.

    Raises:
        DeviceError: the disk's.
    """
    with disk.operation("migrate", path):
        if int(connection.execute("PRAGMA user_version").fetchone()[0]) < FORM:
            connection.execute(f"PRAGMA user_version={FORM}")


def put_aside(path: Path, disk: Disk) -> None:
    """Give a damaged database another name, so that a new one can be begun.

    Raises:
        DeviceError: the disk's.
    """
    for suffix in ("-wal", "-shm"):
        disk.unlink(path.with_name(path.name + suffix))
    disk.rename(path, path.with_name(path.name + ".damaged"))


@contextmanager
def copied(path: Path) -> Iterator[sqlite3.Connection]:
    """The database as it is, from a copy in memory: for a disk that can't be written.

    Raises:
        DeviceError: it can't be read either.
    """
    with mapped_errors("copy", path), copied_to_memory(path, path.with_name(path.name + "-wal")) as folder:
        connection = sqlite3.connect(folder / path.name)
        try:
            yield connection
        finally:
            connection.close()


def read_records(connection: sqlite3.Connection, path: Path) -> Records:
    """Everything in the file; what can't be read is left out and named.

    Raises:
        DeviceError: `state-damaged` or `disk-error` when the file as a whole can't be read.
    """
    found = Records()
    with mapped_errors("read", path):
        rows = connection.execute("SELECT kind, key, body FROM records").fetchall()
    for kind, key, body in rows:
        try:
            if kind == "meta":
                found.meta = msgspec.json.decode(body, type=Meta)
            elif kind == "slot":
                found.slots[key] = msgspec.json.decode(body, type=SlotRow)
            elif kind == "update":
                found.updates[key] = _update(body)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            log.error("%s: the record %s %s can't be read and is forgotten: %s", path, kind, key, error)
            found.lost.append(f"{kind} {key}".strip())
    return found


def _update(body: bytes) -> UpdateRow:
    update = msgspec.json.decode(body, type=UpdateRow)
    State(update.state)  # a state that only a newer agent knows can't be gone on with
    return update
