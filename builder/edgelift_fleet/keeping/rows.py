"""Tables out of a database and into one, value by value as the driver gives them: the same from and to either engine.

Not by the classes of `tables`: a backup is taken of whatever form a database has, and also of rows that can't be
understood, which their devices are mended by. A part of a table is a compressed list of rows; it is never larger than memory
has room for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from edgelift_contract.errors import ContractError
from edgelift_fleet.messages.keeping import BackupPart, BackupTable

#: A part is closed when its rows have so many bytes; one row may have more (a release's body: 8 MiB).
PART_BYTES = 4 << 20
#: No part that we wrote is larger once it is unpacked.
_MAX_PART_BYTES = 256 << 20
_ROWS_AT_ONCE = 1000
#: Alembic's own table: the manifest says its one value.
_FORM_TABLE = "alembic_version"
#: Made from other tables, and made again when it is wanted: a backup has none of their rows.
DERIVED = frozenset({"telemetry_cohort", "telemetry_cohort_sum"})
#: What PostgreSQL can't keep in a text.
_NUL, _STAND_IN = "\x00", "�"

Progress = Callable[[str, int, int], None]


def table_names(connection: sa.Connection) -> list[str]:
    """All tables, whoever is referred to first."""
    names = sa.inspect(connection).get_sorted_table_and_fkc_names()
    return [name for name, _ in names if name is not None and name != _FORM_TABLE]


def count_rows(connection: sa.Connection, names: Iterable[str]) -> int:
    """Rows of these tables together."""
    return sum(connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar() or 0 for name in names)  # noqa: S608 - names of tables


def write_tables(
    connection: sa.Connection, add: Callable[[str, bytes], BackupPart], progress: Progress
) -> list[BackupTable]:
    """All tables as parts, inside a transaction that sees one state. `add` stores a part and returns it."""
    names = table_names(connection)
    total, done = count_rows(connection, (name for name in names if name not in DERIVED)), 0
    made = []
    for name in names:
        columns = [column["name"] for column in sa.inspect(connection).get_columns(name)]
        parts: list[BackupPart] = []
        rows = 0
        for count, data in () if name in DERIVED else _pack(_rows(connection, name, columns)):
            parts.append(add(f"tables/{name}/{len(parts):06d}", data))
            rows += count
            done += count
            progress("rows", done, total)
        made.append(BackupTable(name, columns, rows, parts))
    return made


def _rows(connection: sa.Connection, name: str, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    listed = ", ".join(f'"{column}"' for column in columns)
    result = connection.exec_driver_sql(
        f'SELECT {listed} FROM "{name}"',  # noqa: S608 - names of columns and tables
        execution_options={"stream_results": True, "max_row_buffer": _ROWS_AT_ONCE},
    )
    while rows := result.fetchmany(_ROWS_AT_ONCE):
        yield from rows


def _pack(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, bytes]]:
    """(number of rows, a part of them)."""
    encoder = msgspec.msgpack.Encoder()
    some: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        packed = encoder.encode(tuple(row))
        some.append(msgspec.Raw(packed))
        size += len(packed)
        if size >= PART_BYTES:
            yield len(some), zlib.compress(encoder.encode(some), 1)
            some, size = [], 0
    if some:
        yield len(some), zlib.compress(encoder.encode(some), 1)


def unpack(data: bytes, *, columns: int) -> list[list[Any]]:
    """The rows of a part; raises ContractError `malformed`."""
    unzip = zlib.decompressobj()
    try:
        packed = unzip.decompress(data, _MAX_PART_BYTES)
        rows = msgspec.msgpack.decode(packed, type=list[list[Any]])
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ContractError("malformed", f"A part of a table can't be read: {error}.") from error
    if unzip.unconsumed_tail or any(len(row) != columns for row in rows):
        raise ContractError("malformed", "A part of a table does not have the form that the manifest says.")
    return rows


def read_tables(
    connection: sa.Connection,
    tables: Sequence[BackupTable],
    read: Callable[[BackupPart], bytes],
    progress: Progress,
) -> None:
    """Fill tables that are there and empty, inside a write transaction.

    Args:
        connection: of the transaction.
        tables: what to fill them with.
        read: gives a part's bytes.
        progress: told ("rows", done, all).

    Raises:
        ContractError: `malformed` when the tables have another form, or hold what this engine can't.
    """
    there = {name: sa.inspect(connection).get_columns(name) for name in table_names(connection)}
    given = {table.name: table for table in tables}
    if given.keys() != there.keys():
        raise ContractError(
            "malformed", f"The backup's tables are {', '.join(given)}; here are {', '.join(there)}."
        )
    total, done = sum(table.rows for table in tables), 0
    for name, columns in there.items():
        table = given[name]
        if set(table.columns) != {column["name"] for column in columns}:
            raise ContractError(
                "malformed", f"The backup's table {name} has other columns than this one has here."
            )
        types = {column["name"]: column["type"] for column in columns}
        insert = _inserter(connection, table, [types[column] for column in table.columns])
        for part in table.parts:
            rows = unpack(read(part), columns=len(table.columns))
            insert(rows)
            done += len(rows)
            progress("rows", done, total)
    _set_counters(connection, there)


def _inserter(
    connection: sa.Connection, table: BackupTable, types: Sequence[Any]
) -> Callable[[list[list[Any]]], None]:
    listed = ", ".join(f'"{column}"' for column in table.columns)
    if connection.dialect.name != "postgresql":
        marks = ", ".join("?" for _ in table.columns)
        statement = f'INSERT INTO "{table.name}" ({listed}) VALUES ({marks})'  # noqa: S608 - names of columns and tables
        return lambda rows: _all_or_none(
            table, lambda: connection.exec_driver_sql(statement, [tuple(row) for row in rows])
        )
    statement = f'COPY "{table.name}" ({listed}) FROM STDIN'
    fits = [_fit(kind) for kind in types]

    def copy(rows: list[list[Any]]) -> None:
        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as stream:
                for row in rows:
                    stream.write_row([None if v is None else fit(v) for fit, v in zip(fits, row, strict=True)])
        except Exception as error:
            if not hasattr(error, "sqlstate"):
                raise
            # What this means for people is told of SQLAlchemy's exceptions.
            kind = sa.exc.DataError if _is_of_data(error) else sa.exc.OperationalError
            raise kind(statement, None, error) from error

    return lambda rows: _all_or_none(table, lambda: copy(rows))


def _fit(kind: Any) -> Callable[[Any], Any]:
    """How a value of SQLite, which knows no types, becomes one of PostgreSQL's column."""
    if isinstance(kind, sa.Boolean):
        return bool
    if isinstance(kind, sa.LargeBinary):
        return lambda value: value.encode() if isinstance(value, str) else value
    return lambda value: value.replace(_NUL, _STAND_IN) if isinstance(value, str) else value


def _all_or_none(table: BackupTable, insert: Callable[[], object]) -> None:
    try:
        insert()
    except Exception as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if not _is_of_data(error):
            raise
        raise ContractError(
            "malformed", f"The table {table.name} holds what this database can't keep: {reason}.",
            hint="Mend it where it was taken from (edgelift devices mend DEVICE), and take another backup.",
        ) from error  # fmt: skip


def _is_of_data(error: BaseException) -> bool:
    """Is it about the values, not about the database being away or full? By the names that all drivers use."""
    found = getattr(error, "orig", None) or error
    return any(kind.__name__ in ("DataError", "IntegrityError") for kind in type(found).__mro__)


def _set_counters(connection: sa.Connection, tables: dict[str, Any]) -> None:
    """PostgreSQL numbers new rows by counters of its own, which know nothing of rows that came with their numbers."""
    if connection.dialect.name != "postgresql":
        return
    for name in tables:
        for column in sa.inspect(connection).get_pk_constraint(name)["constrained_columns"]:
            counter = connection.exec_driver_sql(
                "SELECT pg_get_serial_sequence(%s, %s)", (f'"{name}"', column)
            ).scalar()
            if counter:
                connection.exec_driver_sql(
                    f'SELECT setval(%s, (SELECT coalesce(max("{column}"), 0) + 1 FROM "{name}"), false)',  # noqa: S608 - names
                    (counter,),
                )
