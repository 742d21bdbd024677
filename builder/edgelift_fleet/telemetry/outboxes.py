"""The outboxes of devices and what came from each, read and written for many at once.

A row is locked while it is changed, in the order of devices, so that two servers on one database take turns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import among, insert_new
from edgelift_fleet.dropped import windows_of_dropped_outboxes
from edgelift_fleet.tables import TelemetryEpochRow, table_of
from edgelift_fleet.telemetry.arrivals import Arrivals


@dataclass
class Origin:
    """One outbox of a device.

    Attributes:
        id: its number in this database.
        arrivals: which of its items came.
        windows: how many of them were windows.
        before: `arrivals` as they are stored.
        total_before: how many items had come by then; new: was it made just now?
    """

    id: int
    arrivals: Arrivals
    windows: int
    before: bytes
    total_before: int
    new: bool = False


def outboxes_of(session: Session, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Origin]:
    """The outboxes by (device, epoch), locked; those that are new are made. Inside a write transaction."""
    if not wanted:
        return {}
    found = _read(session, wanted)
    missing = sorted(key for key in wanted if key not in found)
    if missing:
        empty = Arrivals().to_bytes()
        insert_new(
            session, TelemetryEpochRow, [{"device": d, "epoch": e, "seen": empty} | _NEW for d, e in missing]
        )
        made = _read(session, missing)
        for outbox in made.values():
            outbox.new = True
        found |= made
    return found


_NEW = {"windows": 0, "last_at": 0.0}


def _read(session: Session, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Origin]:
    row = TelemetryEpochRow
    query = (
        sa.select(row.device, row.epoch, row.id, row.seen, row.windows)
        .where(among(session, row.device, {device for device, _ in wanted}))
        .where(among(session, row.epoch, {epoch for _, epoch in wanted}))
        .order_by(row.device, row.epoch)
        .with_for_update()
    )
    found = {}
    for device, epoch, number, seen, windows in session.execute(query):
        arrivals = Arrivals(seen)
        found[device, epoch] = Origin(number, arrivals, windows, seen, arrivals.total)
    return found


def save_outboxes(session: Session, outboxes: Iterable[Origin], now: float) -> None:
    """Write down what came, where anything new did."""
    rows = []
    for outbox in outboxes:
        seen = outbox.arrivals.to_bytes()
        if seen != outbox.before:
            rows.append({"key": outbox.id, "new_seen": seen, "new_windows": outbox.windows, "now": now})
    if rows:
        table = table_of(TelemetryEpochRow)
        session.connection().execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam("key"))
            .values(
                seen=sa.bindparam("new_seen"), windows=sa.bindparam("new_windows"), last_at=sa.bindparam("now")
            ),
            rows,
        )


def count_windows(session: Session, device: str) -> int:
    """How many windows the device has delivered, ever: also by outboxes that are forgotten."""
    query = sa.select(sa.func.sum(TelemetryEpochRow.windows)).filter_by(device=device)
    return int(session.scalar(query) or 0) + windows_of_dropped_outboxes(session, device)
