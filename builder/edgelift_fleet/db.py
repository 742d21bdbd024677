"""How the database is read, written and migrated: SQLAlchemy on SQLite or PostgreSQL.

A write is one short transaction that says in advance what it is about (`SITE`, `device_scope(device)`, `ROWS`) and
holds that alone until its end, so that reading and then writing can't be overtaken; see `engines`. What is in the
database stands in `tables`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_fleet.engines import (
    AUDIT,
    ROWS,
    SITE,
    Scope,
    device_scope,
    devices_scope,
    lock,
    open_engine,
    open_lead,
    parse_url,
    reading,
    shown,
    writing,
)
from edgelift_fleet.fair_lock import FairLock
from edgelift_fleet.files import make_private
from edgelift_fleet.refusals import meaning
from edgelift_fleet.tables import Base, table_of

__all__ = [
    "AUDIT",
    "MIGRATIONS",
    "ROWS",
    "SITE",
    "Database",
    "Scope",
    "among",
    "by_keys",
    "device_scope",
    "devices_scope",
    "insert_new",
    "insert_rows",
    "name_of",
]

#: How long a write waits for another one, seconds; SQLite's own patience with other processes is the same.
_TURN_S = 15.0

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. `read` and `write` give a session each; safe to use from several threads.

    Attributes:
        name: as people may see it: a file, or a URL without its password.
        engine: SQLAlchemy's; `read` and `write` are the ways in.
    """

    def __init__(self, where: Path | str | sa.URL) -> None:
        """Bind to an SQLite file, or to what a URL names.

        Raises:
            DeviceError: `bad-config`, `tool-missing`.
        """
        self._where = parse_url(where) if isinstance(where, str) else where
        self.name = name_of(self._where)
        if isinstance(self._where, Path):
            make_private(self._where)
        self.engine = open_engine(self._where)
        self._writer = FairLock()
        self._reading, self._writing = reading(self.engine), writing(self.engine)

    @property
    def shared(self) -> bool:
        """Can servers on several machines use it at once?"""
        return self.engine.dialect.name == "postgresql"

    @property
    def waiting_writes(self) -> int:
        """Threads of this process that wait for the one writer that SQLite has."""
        return self._writer.waiting

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading: one state of everything; nothing is committed."""
        with self._errors(), Session(self._reading) as session:
            yield session

    @contextmanager
    def write(self, scope: Scope) -> Iterator[Session]:
        """A session in one write transaction: committed at its end, undone on any exception.

        Args:
            scope: what it may touch; no other write that touches any of it runs meanwhile.

        Raises:
            TransportError: `busy` when others hold it for too long, or the database is away.
        """
        with (
            self._errors(), self._turn(), Session(self._writing, expire_on_commit=False) as session, session.begin()
        ):  # fmt: skip
            lock(session.connection(), scope)
            yield session

    def migrate(self, to: str = "head") -> None:
        """Bring the tables to this release's form; does nothing when they are. No server may run on it meanwhile.

        Args:
            to: a revision, to go there, up or down.

        Raises:
            ContractError: `unknown-schema` when a newer release made them.
            DeviceError: `disk-error`, `disk-full` or `read-only` when the database can't be used.
            TransportError: `busy` when it can't be reached.
        """
        from alembic import command

        config, known = _migrations()
        with self._errors():
            with self._reading.connect() as connection:
                if self._revision(connection, known) == (known.get_current_head() if to == "head" else to):
                    return
            with self._writing.begin() as connection:
                lock(connection, SITE)
                config.attributes["connection"] = connection
                now = self._revision(connection, known)
                below = to != "head" and now is not None and to not in ("base", now)
                down = to == "base" or (
                    below and any(s.revision == to for s in known.iterate_revisions(now, "base"))
                )
                (command.downgrade if down else command.upgrade)(config, to)

    def form(self, connection: sa.Connection) -> str | None:
        """Which form the tables have, a migration's number; None before the first. Raises as `migrate`."""
        _, known = _migrations()
        return self._revision(connection, known)

    @contextmanager
    def made_anew(self, form: str, fill: Callable[[sa.Connection], None]) -> Iterator[Session]:
        """One transaction that makes all tables, fills them and brings them up to date; the block is the last part of it.

        Args:
            form: in which the tables are made, of this release or an older one.
            fill: fills them then.

        Raises:
            ContractError: `unknown-schema` for a newer form, `conflict` when something is in the tables already.
            EdgeliftError: what `migrate` raises.
        """
        from alembic import command

        config, known = _migrations()
        if form not in {script.revision for script in known.walk_revisions()}:
            raise ContractError("unknown-schema", f"This release doesn't know tables of the form {form}.")
        with self._errors(), Session(self._writing) as session, session.begin():
            connection = session.connection()
            lock(connection, SITE)
            config.attributes["connection"] = connection
            if self._revision(connection, known) is not None:
                self._refuse_filled(connection)
                command.downgrade(config, "base")
            command.upgrade(config, form)
            fill(connection)
            command.upgrade(config, "head")
            yield session

    def _refuse_filled(self, connection: sa.Connection) -> None:
        for table in sa.inspect(connection).get_table_names():
            query = sa.select(sa.literal(1)).select_from(sa.table(table)).limit(1)
            if table != "alembic_version" and connection.execute(query).first():
                raise ContractError(
                    "conflict", f"In the database {self.name} there is a site already.",
                    hint="Name an empty one with --database.",
                )  # fmt: skip

    def _revision(self, connection: sa.Connection, known: Any) -> str | None:
        """Which form the tables have; None before the first."""
        from alembic.migration import MigrationContext

        _check_encoding(connection, self.name)
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in {script.revision for script in known.walk_revisions()}:
            raise ContractError(
                "unknown-schema",
                f"The database {self.name} has the form {found}, which this release doesn't know.",
                hint="It was used by a newer edgelift: install that one, or restore a backup from before.",
            )
        return found

    @contextmanager
    def lead_engine(self) -> Iterator[sa.Engine]:
        """An engine for the connection that holds the lead; see `lead`. PostgreSQL alone has one."""
        assert isinstance(self._where, sa.URL)
        with self._errors():
            engine = open_lead(self._where)
            try:
                yield engine
            finally:
                engine.dispose()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite has one writer: threads of ours wait here, in turn, and not by asking its file again and again."""
        if self.shared:
            yield
            return
        with self._writer.held(_TURN_S) as ours:
            if not ours:
                raise TransportError("busy", f"Another write to the database {self.name} takes too long.")
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            meant = meaning(error, self._where, self.name)
            if meant is None:
                raise
            raise meant from error


def _migrations() -> tuple[Any, Any]:
    """Alembic's configuration, and the migrations that this release knows."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config, ScriptDirectory.from_config(config)


def name_of(where: Path | str | sa.URL) -> str:
    """A database as people may see it: a file, or a URL without its password. Raises what `parse_url` raises."""
    if isinstance(where, Path):
        return os.fsencode(where).decode(errors="backslashreplace")  # a path may be any bytes
    return shown(parse_url(where) if isinstance(where, str) else where)


def _check_encoding(connection: sa.Connection, name: str) -> None:
    if connection.dialect.name != "postgresql":
        return
    found = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if found != "UTF8":
        raise DeviceError(
            "bad-config",
            f"The database {name} keeps text as {found}.",
            hint="Make one with: createdb --encoding=UTF8 --template=template0.",
        )


def among(session: Session, column: Any, values: Collection[str] | Collection[int]) -> sa.ColumnElement[bool]:
    """Is the column one of these texts or numbers? As one parameter, however many: databases bound their number.

    And the statement is the same text each time, so that neither SQLAlchemy nor the database has to read it again.
    """
    if session.get_bind().dialect.name == "postgresql":
        return column == sa.any_(sa.cast(sorted(values), sa.ARRAY(column.type)))  # type: ignore[no-any-return]  # of a column
    given = sa.func.json_each(msgspec.json.encode(sorted(values)).decode()).table_valued("value")
    return column.in_(sa.select(given.c.value))  # type: ignore[no-any-return]  # of a column


def by_keys(session: Session, query: Any, columns: Sequence[Any], keys: Collection[Sequence[int]]) -> Any:
    """`query`, a select of `columns`' one table, for the rows in which these have one of `keys`, each looked up by itself.

    A select as well, of the same columns. `(a, b) IN (VALUES …)` says the same, and SQLite reads the whole table for it.
    """
    if session.get_bind().dialect.name == "postgresql":
        arrays = [sa.cast([key[n] for key in keys], sa.ARRAY(column.type)) for n, column in enumerate(columns)]
        given = (
            sa.func.unnest(*arrays).table_valued(*(f"k{n}" for n in range(len(columns)))).render_derived("wanted")
        )
        parts: list[Any] = list(given.c)
    else:
        given = sa.func.json_each(msgspec.json.encode(list(keys)).decode()).table_valued("value", name="wanted")
        parts = [sa.func.json_extract(given.c.value, f"$[{n}]") for n in range(len(columns))]
    same = sa.and_(*(column == part for column, part in zip(columns, parts, strict=True)))
    return query.join_from(given, columns[0].class_, same)


def insert_new(session: Session, table: type[Base], rows: list[dict[str, Any]]) -> int:
    """Insert the rows whose primary key isn't there yet; returns how many were new."""
    if not rows:
        return 0
    # By the plain table, not the mapped class: only so does the result count the rows.
    plain = Base.metadata.tables[table.__tablename__]
    counted = {"preserve_rowcount": True}  # psycopg's count is thrown away else
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        result = session.connection().execute(
            pg_insert(plain).on_conflict_do_nothing(), rows, execution_options=counted
        )
    else:
        from sqlalchemy.dialects.sqlite import insert as lite_insert

        result = session.connection().execute(
            lite_insert(plain).on_conflict_do_nothing(), rows, execution_options=counted
        )
    return max(0, getattr(result, "rowcount", 0))


def insert_rows(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of which each has every one of the same columns; their values are what the driver takes as it is.

    By the driver itself: SQLAlchemy's way of handing over each value is a tenth of what a window costs.
    """
    if not rows:
        return
    statement, order = _insertion(table_of(table), session.get_bind().dialect, tuple(rows[0]))
    given: Any = rows
    if order:
        given = list(map(itemgetter(*order), rows)) if len(order) > 1 else [(row[order[0]],) for row in rows]
    session.connection().exec_driver_sql(statement, given)


@functools.lru_cache(maxsize=64)
def _insertion(table: sa.Table, dialect: sa.Dialect, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The statement, and in which order its driver takes the values of a row; empty where it takes them by name.

    Made once: compiling it was a tenth of what one window in a request of its own costs.
    """
    made = sa.insert(table).compile(dialect=dialect, column_keys=list(columns))
    return str(made), tuple(made.positiontup or ()) if made.positional else ()
