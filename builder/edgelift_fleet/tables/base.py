"""What all tables share."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

#: SQLite clusters a table by its key and keeps no row number beside it; PostgreSQL has no such thing.
BY_KEY = {"sqlite_with_rowid": False}


class Base(DeclarativeBase):
    """All tables."""


def table_of(row: type[Base]) -> sa.Table:
    """The plain table of a class: for statements over many rows at once, which need no objects."""
    return Base.metadata.tables[row.__tablename__]
