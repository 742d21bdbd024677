"""The two database engines: how each is opened, how a write locks what it touches, and what its refusals mean.

SQLite is one file and one writer: `BEGIN IMMEDIATE` is every write's lock. PostgreSQL has many writers, possibly in
several servers, so each write says in advance what it is about (a `Scope`) and takes an advisory lock for it before
it reads anything: reading and then writing can't be overtaken there either, and since the locks are always taken in
the same order, and first, no two writes wait for each other.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from edgelift_contract.errors import DeviceError

#: The space of our advisory locks, any number that other programs on the database don't use ("edge" as bytes).
LOCK_SPACE = 0x65646765
#: In our space: the whole site; a device's lock is its hash.
_SITE_LOCK = 0
#: Beside it: who leads.
_LEAD_SPACE = LOCK_SPACE + 1
#: Devices that one write locks one by one.
_MAX_LOCKS = 200
#: How long a write waits for another one before it is refused as `busy`, milliseconds.
_LOCK_WAIT_MS = 15_000
#: A transaction of ours takes milliseconds: one that does nothing for so long hangs, and must let the others on.
_IDLE_MS = 60_000
DEFAULT_PORT = 5432


@dataclass(frozen=True)
class Scope:
    """What a write transaction may touch.

    Attributes:
        numbers: locks of the devices whose rows it reads and changes, lowest first; empty for none in particular.
        alone: it may touch everything: no other write runs meanwhile.
    """

    numbers: tuple[int, ...] = ()
    alone: bool = False


#: Everything: rollouts, releases, several devices at once.
SITE = Scope(alone=True)
#: Rows that are written without having been read: last-seen times, inserts that may already be there, old telemetry.
#: Several rows of one table are written in the order of their keys.
ROWS = Scope()

#: The log of what people did: its rows are numbered one after the other, whichever server writes them. Beside it,
#: everything else is written.
AUDIT = Scope((0x61756469,))


def device_scope(device: str) -> Scope:
    """The rows of one device; beside it, other devices are written."""
    return devices_scope((device,))


def devices_scope(devices: Collection[str]) -> Scope:
    """The rows of some devices; of very many, the whole site: PostgreSQL has room for some thousand locks in all."""
    if len(devices) > _MAX_LOCKS:
        return SITE
    # Two devices of one hash wait for each other, which harms nobody.
    return Scope(tuple(sorted({zlib.crc32(device.encode()) - 2**31 or 1 for device in devices})))


def parse_url(text: str) -> sa.URL:
    """A database's URL: `postgresql://…` (or `postgres://…`) or `sqlite:///FILE`.

    Raises:
        DeviceError: `bad-config`; the message doesn't hold the URL, which may hold a password.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise _no_database() from error
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        return url
    raise _no_database()


def take_password(url: sa.URL) -> tuple[sa.URL, str]:
    """The URL without the password that stands in it, and that password; empty for none."""
    asked = url.query.get("password", "")
    password = url.password or (asked if isinstance(asked, str) else asked[0])
    bare = url.difference_update_query(["password"])
    # `URL.set` can't take a password away.
    kept = sa.URL.create(bare.drivername, bare.username, None, bare.host, bare.port, bare.database, bare.query)
    return kept, str(password)


def _no_database() -> DeviceError:
    return DeviceError(
        "bad-config",
        "The site's `database` is not the URL of a database that edgelift knows.",
        hint="Write postgresql://user@host/database, or leave it out for SQLite.",
    )


def shown(url: sa.URL) -> str:
    """The URL as people may see it: without a password, and without what follows a `?`."""
    bare, _ = take_password(url)
    return bare.set(drivername=url.get_backend_name(), query={}).render_as_string()


def open_engine(where: Path | sa.URL) -> sa.Engine:
    """The engine for an SQLite file or a URL of `parse_url`; connects to nothing yet.

    Raises:
        DeviceError: `tool-missing` when its driver isn't installed.
    """
    # A path is no part of a URL: `?` and `%` mean something there.
    url = sa.URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    pool: dict[str, Any] = {"pool_size": 16, "max_overflow": 32, "pool_timeout": 20}
    try:
        if url.get_backend_name() == "postgresql":
            given = {name: value for name, value in url.query.items() if isinstance(value, str)}
            return sa.create_engine(url, connect_args=_postgres_options(given), **pool)
        engine = sa.create_engine(url, **pool)
    except ModuleNotFoundError as error:
        raise DeviceError(
            "tool-missing",
            f"A site on PostgreSQL needs the Python package {error.name}.",
            hint="Install it: pip install 'edgelift[postgresql]'.",
        ) from error
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """The engine for write transactions: each statement sees what was committed before it."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="READ COMMITTED")
    return engine.execution_options(edgelift_write=True)


def reading(engine: sa.Engine) -> sa.Engine:
    """The engine for reading: one transaction sees one state, and can't write."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine


def lock(connection: sa.Connection, scope: Scope) -> None:
    """Wait until this transaction is the only one that writes what `scope` names; it is until it ends."""
    if connection.dialect.name != "postgresql":
        return  # the transaction began with SQLite's one lock
    if scope.alone:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_SPACE}, {_SITE_LOCK})")
        return
    # Evaluated from left to right: the site's lock before the devices', these in the order of their numbers.
    taken = [f"pg_advisory_xact_lock_shared({LOCK_SPACE}, {_SITE_LOCK})"]
    taken += [f"pg_advisory_xact_lock({LOCK_SPACE}, {number})" for number in scope.numbers]
    connection.exec_driver_sql("SELECT " + ", ".join(taken))


def _postgres_options(given: dict[str, str]) -> dict[str, Any]:
    """What libpq is told beyond the URL; what stands in the URL wins."""
    ours: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "edgelift",
        # A server that vanished without a word is noticed in about 15 s.
        "keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000,
    }  # fmt: skip
    options = f"-c lock_timeout={_LOCK_WAIT_MS} -c idle_in_transaction_session_timeout={_IDLE_MS}"
    return {name: value for name, value in ours.items() if name not in given} | {
        "options": f"{options} {given.get('options', '')}".rstrip()
    }


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # Bytes that the disk damaged make a text that can't be understood, not a statement that fails for all rows.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    connection.isolation_level = None  # SQLAlchemy's `begin` event begins transactions, not the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=15000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    wants_lock = connection.get_execution_options().get("edgelift_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_lock else "BEGIN")


def open_lead(where: sa.URL) -> sa.Engine:
    """An engine for the one connection that holds the lead: whichever side goes silent, the other notices in 3 s."""
    # PostgreSQL's side: it ends the connection, and with it the lock, of a server whose machine or network is gone.
    options = "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"
    ours = {
        "connect_timeout": 2,
        "tcp_user_timeout": 2500,
        "application_name": "edgelift-lead",
        "options": options,
    }
    return sa.create_engine(where, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT", connect_args=ours)


def try_lead(connection: sa.Connection) -> bool:
    """Take the lead if nobody has it; it is kept until the connection ends."""
    version = connection.dialect.server_version_info or (0,)
    if version >= (14,):
        # A server that hangs keeps its connection: one that has asked nothing for so long leads no more.
        connection.exec_driver_sql("SET idle_session_timeout = 3000")
    return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LEAD_SPACE}, 0)").scalar())
