"""Since when blobs have been named by nothing: the hour that passes before they are collected.

Whoever is about to name a blob, or has just found that it is there already, drops its mark in the same transaction in which
it is named. Blobs are deleted in a transaction of the whole site, by their marks: so none is deleted between the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.tables import UnnamedBlobRow, table_of

#: Digests that one statement names; SQLite takes some thousand parameters.
_AT_ONCE = 500


def mark(session: Session, digests: Collection[str], now: float) -> None:
    """Nothing names these any more, from now on."""
    keep(session, digests)
    if digests:
        rows = [{"sha256": sha256, "since": now} for sha256 in sorted(set(digests))]
        session.execute(sa.insert(table_of(UnnamedBlobRow)), rows)


def keep(session: Session, digests: Iterable[str]) -> None:
    """These are named, or about to be: their hour begins anew, should nothing name them one day."""
    listed = sorted(set(digests))
    for first in range(0, len(listed), _AT_ONCE):
        some = listed[first : first + _AT_ONCE]
        session.execute(sa.delete(UnnamedBlobRow).where(UnnamedBlobRow.sha256.in_(some)))


def marks(session: Session) -> dict[str, float]:
    """Blob → since when nothing has named it, seconds since 1970."""
    rows = session.execute(sa.select(UnnamedBlobRow.sha256, UnnamedBlobRow.since))
    return {row.sha256: row.since for row in rows}
