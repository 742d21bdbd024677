"""The tables, and how they are opened: SQLAlchemy, so that SQLite can become PostgreSQL by its URL.

Rules: times are seconds since 1970 as floats; messages are kept as the JSON that the contract defines; a write
is one short transaction that takes SQLite's write lock at its beginning (`BEGIN IMMEDIATE`), so that reading
and then writing can't be overtaken. `tests/fleet/test_db.py` holds these tables and the migrations together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from edgelift_contract.errors import DeviceError

MIGRATIONS = Path(__file__).parent / "migrations"


class Base(DeclarativeBase):
    """All tables."""


class ReleaseRow(Base):
    """A published release; `body` is its release.json."""

    __tablename__ = "release"
    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    release_counter: Mapped[int] = mapped_column(sa.BigInteger)
    body: Mapped[str] = mapped_column(sa.Text)
    published_at: Mapped[float]
    __table_args__ = (sa.UniqueConstraint("model", "version"),)


class ArtifactRow(Base):
    """One artifact of a release."""

    __tablename__ = "artifact"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    release_id: Mapped[int] = mapped_column(sa.ForeignKey("release.id"), index=True)
    manifest_bytes: Mapped[int]
    variant: Mapped[str] = mapped_column(sa.String(64))


class DeviceRow(Base):
    """An enrolled device and the newest it said of itself."""

    __tablename__ = "device"
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    enrolled_at: Mapped[float]
    last_seen: Mapped[float] = mapped_column(default=0.0)
    facts: Mapped[str] = mapped_column(sa.Text)
    agent_version: Mapped[str] = mapped_column(sa.String(64), default="")
    transport: Mapped[str] = mapped_column(sa.String(16), default="")
    report_epoch: Mapped[str] = mapped_column(sa.Text, default="")
    report_sequence: Mapped[int] = mapped_column(sa.BigInteger, default=-1)
    past_epochs: Mapped[str] = mapped_column(sa.Text, default="[]")
    reported_at: Mapped[float] = mapped_column(default=0.0)
    revision_seen: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    revision_applied: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    presence_online: Mapped[bool] = mapped_column(default=False)
    presence_epoch: Mapped[str] = mapped_column(sa.Text, default="")
    presence_connect: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    gone_at: Mapped[float] = mapped_column(default=0.0)


class TagRow(Base):
    """A tag; `source` is `device` (from its configuration) or `operator`, who wins."""

    __tablename__ = "device_tag"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(64), primary_key=True, index=True)
    value: Mapped[str] = mapped_column(sa.Text, default="")
    source: Mapped[str] = mapped_column(sa.String(16))


class SlotRow(Base):
    """What a device reported of a slot; `last_update` is the contract's UpdateReport or empty."""

    __tablename__ = "slot_state"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    slot: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(16))
    generation: Mapped[int]
    artifact: Mapped[str] = mapped_column(sa.String(64))
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    since: Mapped[float]
    last_update: Mapped[str] = mapped_column(sa.Text)


class UpdateRow(Base):
    """One update of one slot, as last reported: the history, and what rollouts judge by."""

    __tablename__ = "update_history"
    id: Mapped[int] = mapped_column(primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"))
    slot: Mapped[str] = mapped_column(sa.String(64))
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    rollout: Mapped[str] = mapped_column(sa.String(64), index=True)
    artifact: Mapped[str] = mapped_column(sa.String(64))
    outcome: Mapped[str] = mapped_column(sa.String(16))
    body: Mapped[str] = mapped_column(sa.Text)
    first_at: Mapped[float]
    last_at: Mapped[float]
    __table_args__ = (sa.UniqueConstraint("device", "slot", "revision", "artifact", "rollout"),)


class AssignmentRow(Base):
    """What a device should run: `body` is the assignment in canonical JSON."""

    __tablename__ = "assignment"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    issued_at: Mapped[float]
    body: Mapped[str] = mapped_column(sa.Text)


class TelemetryRow(Base):
    """One telemetry item; `body` is the item in JSON, the columns are for finding it."""

    __tablename__ = "telemetry"
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    epoch: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(16))
    at: Mapped[float]
    slot: Mapped[str] = mapped_column(sa.String(64))
    artifact: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    received_at: Mapped[float] = mapped_column(index=True)
    body: Mapped[str] = mapped_column(sa.Text)
    __table_args__ = (sa.Index("telemetry_by_device", "device", "kind", "at"),)


class RolloutRow(Base):
    """A rollout: its plan and where it stands."""

    __tablename__ = "rollout"
    number: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(sa.String(64))
    version: Mapped[str] = mapped_column(sa.String(64))
    slot: Mapped[str] = mapped_column(sa.String(64))
    selector: Mapped[str] = mapped_column(sa.Text)
    plan: Mapped[str] = mapped_column(sa.Text)
    policy: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[str] = mapped_column(sa.String(16), index=True)
    wave: Mapped[int]
    reason: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[float]
    changed_at: Mapped[float]


class RolloutDeviceRow(Base):
    """A device that a rollout reached. `previous` is the SlotAssignment to go back to; empty for none."""

    __tablename__ = "rollout_device"
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), primary_key=True)
    device: Mapped[str] = mapped_column(sa.ForeignKey("device.id"), primary_key=True)
    wave: Mapped[int]
    artifact: Mapped[str] = mapped_column(sa.String(64))
    revision: Mapped[int] = mapped_column(sa.BigInteger)
    assigned_at: Mapped[float]
    previous: Mapped[str] = mapped_column(sa.Text)
    going_back: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(sa.String(16))
    status_at: Mapped[float]
    code: Mapped[str] = mapped_column(sa.String(64), default="")
    message: Mapped[str] = mapped_column(sa.Text, default="")


class RolloutEventRow(Base):
    """What happened in a rollout, in order."""

    __tablename__ = "rollout_event"
    id: Mapped[int] = mapped_column(primary_key=True)
    rollout: Mapped[int] = mapped_column(sa.ForeignKey("rollout.number"), index=True)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(sa.String(32))
    text: Mapped[str] = mapped_column(sa.Text)


class Database:
    """An open database. `read` and `write` give a session each; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, pool_size=16, max_overflow=32, pool_timeout=20)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with _database_errors(), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one write transaction: committed at its end, undone on any exception."""
        writing = self.engine.execution_options(edgelift_write=True)
        with _database_errors(), Session(writing, expire_on_commit=False) as session, session.begin():
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
        with _database_errors(), self.engine.execution_options(edgelift_write=True).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


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
def _database_errors() -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        reason = str(error.orig)
        code = next((c for text, c in _REASONS.items() if text in reason), "disk-error")
        raise DeviceError(code, f"The database refused an operation: {reason}.") from error


_REASONS = {"full": "disk-full", "readonly": "read-only", "locked": "busy"}
