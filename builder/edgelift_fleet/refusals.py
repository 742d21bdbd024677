"""What a database's refusals mean: foreign exceptions as errors that a person can act on.

Whoever must wait gets `busy`: a database that is away, restarts, or whose locks are held. Devices and the broker
bring the same again until it is back; nothing that was not stored is ever acknowledged.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, TransportError

_AGAIN = "Nothing needs to be done if it is back soon: what could not be stored is brought again."
#: SQLSTATEs (PostgreSQL's manual, appendix A), longest prefix first → what they mean here.
_MEANINGS = {
    "57P": "away",  # it shuts down, crashed or starts up
    "08": "away",
    "55P03": "busy", "57014": "busy", "40": "busy", "53300": "busy", "25P0": "busy",
    "53100": "disk-full", "53200": "no-memory", "58": "disk-error", "XX": "disk-error",
    "25006": "read-only",
    "28": "login", "3D000": "login", "42501": "login",
    "22": "value",
}  # fmt: skip

#: What a server says that can't let anyone in for want of room: psycopg has no SQLSTATE of a connection that failed.
_NO_ROOM = ("could not write init file", "No space left on device")


def meaning(error: Exception, where: Path | sa.URL, name: str) -> EdgeliftError | None:
    """The refusal in our words; None when it is a fault of the program's own, or the caller's affair.

    Args:
        error: SQLAlchemy's.
        where: the SQLite file, or the URL.
        name: the database as people may see it.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return TransportError("busy", f"All connections to the database {name} are in use.", hint=_AGAIN)
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    if isinstance(where, Path) or where.get_backend_name() == "sqlite":
        return _of_sqlite(error, where if isinstance(where, Path) else None, name)
    return _of_postgres(error, name)


def _of_postgres(error: sa.exc.DBAPIError, name: str) -> EdgeliftError | None:
    state = getattr(error.orig, "sqlstate", None) or ""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    reason = lines[0].removeprefix("connection failed: ").rstrip(".")
    kind = next((kind for prefix, kind in _MEANINGS.items() if state.startswith(prefix)), "")
    if isinstance(error, sa.exc.DataError):
        kind = "value"
    elif not state and any(words in str(error.orig) for words in _NO_ROOM):
        kind = "disk-full"
    elif not state and (error.connection_invalidated or isinstance(error, sa.exc.OperationalError)):
        kind = "login" if "authentication failed" in reason or "does not exist" in reason else "away"
    if kind == "away":
        return TransportError("busy", f"The database {name} does not answer: {reason}.", hint=_AGAIN)
    if kind == "busy":
        return TransportError("busy", f"The database {name} is busy: {reason}.", hint=_AGAIN)
    if kind == "login":
        return DeviceError(
            "bad-config", f"The database {name} does not let us in: {reason}.", hint="See docs/engines.md."
        )
    if kind == "value":
        return ContractError("malformed", f"The database can't hold a value of this: {reason}.")
    return (
        DeviceError(kind, f"The database {name} refused: {reason}.", hint=_HINTS.get(kind, "")) if kind else None
    )


def _of_sqlite(error: sa.exc.DBAPIError, file: Path | None, name: str) -> EdgeliftError | None:
    # A damaged file has no class of its own; integrity and the like are the caller's, or a fault of ours.
    if type(error) is sa.exc.DatabaseError:
        return DeviceError(
            "disk-error", f"The database {name} is damaged: {error.orig}.",
            hint="Restore the site from a backup; devices serve on meanwhile.",
        )  # fmt: skip
    if not isinstance(error, sa.exc.OperationalError):
        return None
    code = _sqlite_code(str(error.orig), file)
    message = f"The database refused an operation: {error.orig}."
    if code == "busy":
        return TransportError(code, message, hint=_AGAIN)
    return DeviceError(code, message, hint=_HINTS.get(code, ""))


_REASONS = {"full": "disk-full", "readonly": "read-only", "locked": "busy"}
_HINTS = {"disk-full": "Its disk is full: free some space.", "read-only": "It can't be written."}
#: With less than this free, bytes, SQLite's vaguer words ("disk I/O error") are those of a full disk.
_FULL_BYTES = 256 * 1024


def _sqlite_code(reason: str, file: Path | None) -> str:
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
