"""Updates that ended and of which a receiver of traces is still to be told.

Written in the transaction that stores the device's report, and gone once the receiver has it: so a server that ends in
between loses nothing, and tells at most the same once more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.report import UpdateReport
from edgelift_fleet.caps import MAX_TRACES, MAX_TRACES_OF_ONE
from edgelift_fleet.db import among
from edgelift_fleet.tables import UpdateTraceRow, table_of


class EndedUpdate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An update and what the host knows of when it was; seconds since 1970, by the host's clock but for `said_at`.

    Attributes:
        device, agent_version: who took it.
        slot: of the device.
        update: how it ended, as the device reported it.
        assigned_at: when the host assigned it; 0 where another assignment has taken that one's place.
        first_at: when it was first heard of.
        received_at: when its end was heard of; `said_at` by the device's clock as it said so.
    """

    device: str
    slot: str
    update: UpdateReport
    agent_version: str = ""
    assigned_at: float = 0.0
    first_at: float
    received_at: float
    said_at: float


class UntoldRow(NamedTuple):
    """A row that waits; `ended` is None where it can't be read."""

    id: int
    ended: EndedUpdate | None


def keep_ended(session: Session, ended: Sequence[EndedUpdate]) -> None:
    """Keep updates until they are told of; of each device the newest. Inside a write transaction."""
    if not ended:
        return
    rows = [{"device": one.device, "body": codec.canonical_json(one).decode()} for one in ended]
    session.execute(sa.insert(table_of(UpdateTraceRow)), rows)
    row, number = UpdateTraceRow, sa.func.count()
    devices = {one.device for one in ended}
    query = sa.select(row.device, number).where(among(session, row.device, devices)).group_by(row.device)
    for device, found in session.execute(query.having(number > MAX_TRACES_OF_ONE)).all():
        oldest = sa.select(row.id).where(row.device == device).order_by(row.id).limit(found - MAX_TRACES_OF_ONE)
        session.execute(sa.delete(row).where(row.id.in_(oldest)).execution_options(synchronize_session=False))


def oldest_untold(session: Session, most: int) -> list[UntoldRow]:
    """Those that have waited longest, the oldest first."""
    row = UpdateTraceRow
    found = session.execute(sa.select(row.id, row.body).order_by(row.id).limit(most))
    return [UntoldRow(number, _read(body)) for number, body in found]


def forget_told(session: Session, ids: Collection[int]) -> None:
    """They were told of, or can't be. Inside a write transaction."""
    row = UpdateTraceRow
    session.execute(sa.delete(row).where(row.id.in_(sorted(ids))).execution_options(synchronize_session=False))


def is_too_much(session: Session, most: int = MAX_TRACES) -> bool:
    """Do more wait than may?"""
    return _newest_beyond(session, most) is not None


def forget_oldest(session: Session, most: int = MAX_TRACES) -> int:
    """Drop the oldest of all that are more than may wait; how many. Inside a write transaction."""
    last = _newest_beyond(session, most)
    if last is None:
        return 0
    row = UpdateTraceRow
    gone = session.connection().execute(sa.delete(table_of(row)).where(table_of(row).c.id <= last))
    return gone.rowcount


def _newest_beyond(session: Session, most: int) -> int | None:
    row = UpdateTraceRow
    return session.scalar(sa.select(row.id).order_by(row.id.desc()).offset(most).limit(1))


def _read(body: str) -> EndedUpdate | None:
    try:
        return msgspec.json.decode(body, type=EndedUpdate)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return None
