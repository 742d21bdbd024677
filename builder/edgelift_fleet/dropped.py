"""How much of a device went because it had too much of it (`caps`): counted, and told."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.caps import Kind
from edgelift_fleet.db import insert_new
from edgelift_fleet.tables import DeviceDroppedRow, table_of

#: Windows of outboxes that were forgotten: they came, and are counted so.
_COUNTED = "windows-of-outboxes"


def drop_count(session: Session, device: str, gone: Mapping[Kind, int], *, windows: int = 0) -> None:
    """Count what went of a device; `windows` came by outboxes that went. Inside a write transaction."""
    more = {what: number for what, number in (*gone.items(), (_COUNTED, windows)) if number}
    if not more:
        return
    insert_new(session, DeviceDroppedRow, [{"device": device, "what": what, "number": 0} for what in sorted(more)])
    table = table_of(DeviceDroppedRow)
    session.connection().execute(
        sa.update(table)
        .where(table.c.device == device, table.c.what == sa.bindparam("key"))
        .values(number=table.c.number + sa.bindparam("more")),
        [{"key": what, "more": number} for what, number in sorted(more.items())],
    )


def dropped(session: Session, device: str) -> dict[str, int]:
    """What → how many of it went."""
    query = sa.select(DeviceDroppedRow.what, DeviceDroppedRow.number).filter_by(device=device)
    return {
        what: number for what, number in session.execute(query.order_by(DeviceDroppedRow.what)) if what != _COUNTED
    }


def windows_of_dropped_outboxes(session: Session, device: str) -> int:
    """How many windows came by outboxes that went."""
    row = session.get(DeviceDroppedRow, (device, _COUNTED))
    return row.number if row is not None else 0
