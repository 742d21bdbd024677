"""How the database is opened, read, written and migrated: SQLAlchemy, so that SQLite can become PostgreSQL by its URL.

A write is one short transaction that takes SQLite's write lock at its beginning (`BEGIN IMMEDIATE`), so that
reading and then writing can't be overtaken. What is in it stands in `tables`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session

from edgelift_contract.errors import DeviceError
from edgelift_fleet.tables import Base

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. `read` and `write` give a session each; safe to use from several threads."""

    def __init__(self, where: Path | str) -> None:
        """Bind to an SQLite file, or to what a URL names.

        Raises:
            DeviceError: `bad-config`, `tool-missing`.
        """
        # A path is no part of a URL: `?` and `%` mean something there.
        url = sa.URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
        self._file = where if isinstance(where, Path) else None
        with _named_wrongly(url):
            self.engine = sa.create_engine(url, pool_size=16, max_overflow=32, pool_timeout=20)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with self._errors(), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one write transaction: committed at its end, undone on any exception."""
        writing = self.engine.execution_options(edgelift_write=True)
        with self._errors(), Session(writing, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this release's form; does nothing when they are.

        Raises:
            DeviceError: `disk-error`, `disk-full` or `read-only` when the database can't be used.
        """
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._errors(), self.engine.execution_options(edgelift_write=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            # A damaged file has no class of its own; integrity and the like are the caller's, or a fault of ours.
            if type(error) is sa.exc.DatabaseError:
                raise DeviceError(
                    "disk-error", f"The database {self._file or ''} is damaged: {error.orig}.",
                    hint="Restore the site from a backup; devices serve on meanwhile.",
                ) from error  # fmt: skip
            if not isinstance(error, sa.exc.OperationalError):
                raise
            code = _code(str(error.orig), self._file)
            message = f"The database refused an operation: {error.orig}."
            raise DeviceError(code, message, hint=_HINTS.get(code, "")) from error


def insert_new(session: Session, table: type[Base], rows: list[dict[str, Any]]) -> int:
    """Insert the rows whose primary key isn't there yet; returns how many were new."""
    if not rows:
        return 0
    # By the plain table, not the mapped class: only so does the result count the rows.
    plain = Base.metadata.tables[table.__tablename__]
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        result = session.connection().execute(pg_insert(plain).on_conflict_do_nothing(), rows)
    else:
        from sqlalchemy.dialects.sqlite import insert as lite_insert

        result = session.connection().execute(lite_insert(plain).on_conflict_do_nothing(), rows)
    return max(0, getattr(result, "rowcount", 0))


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's `begin` event begins transactions, not the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=15000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    wants_lock = connection.get_execution_options().get("edgelift_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_lock else "BEGIN")


@contextmanager
def _named_wrongly(url: sa.URL | str) -> Iterator[None]:
    try:
        yield
    except sa.exc.ArgumentError as error:
        raise DeviceError("bad-config", f"The site's database cannot be used: {error}.") from error
    except ModuleNotFoundError as error:
        kind = str(url).partition(":")[0]
        raise DeviceError(
            "tool-missing",
            f"The site's database ({kind}) needs the Python package {error.name}.",
            hint="Install it.",
        ) from error


_REASONS = {"full": "disk-full", "readonly": "read-only", "locked": "busy"}
_HINTS = {"disk-full": "Its disk is full: free some space.", "read-only": "Its disk can't be written."}
#: With less than this free, bytes, SQLite's vaguer words ("disk I/O error") are those of a full disk.
_FULL_BYTES = 256 * 1024


def _code(reason: str, file: Path | None) -> str:
    for text, code in _REASONS.items():
        if text in reason:
            return code
    if file is None:
        return "disk-error"
    try:
        disk = os.statvfs(file.parent)
    except OSError:
        return "disk-error"
    if disk.f_flag & os.ST_RDONLY:
        return "read-only"
    return "disk-full" if disk.f_bavail * disk.f_frsize < _FULL_BYTES else "disk-error"
