"""Of a device that has more telemetry than is kept of one (`caps`) the oldest goes, by when it was received.

AskedCohorts at intake, but not each time (`due`); so what stands between two looks is bounded too, and an honest board's
batches cost next to nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.caps import KEPT, Cap, Kind
from edgelift_fleet.db import among
from edgelift_fleet.dropped import drop_count
from edgelift_fleet.tables import (
    Base,
    TelemetryBucketRow,
    TelemetryEpochRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNoteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
    table_of,
)
from edgelift_fleet.telemetry.cohort_sums import forget_of
from edgelift_fleet.telemetry.cohorts import mark_changed
from edgelift_fleet.telemetry.outboxes import Origin

#: A device is looked at after so many items of an outbox, a batch of so many bytes as it is stored, and when it begins
#: an outbox after so many: an honest one begins another when its disk lost the last.
EVERY, AT_BYTES, OUTBOXES = 1000, 256 * 1024, 4
#: What goes beyond the cap, so that not every look finds something: a tenth of it.
_BELOW = 0.9

#: What → its table, the column by whose order it goes, and whether its rows are the device's by their series.
_KINDS: Mapping[Kind, tuple[type[Base], str, bool]] = {
    "windows": (TelemetryMinuteRow, "received_at", True),
    "sums": (TelemetryBucketRow, "received_last", True),
    "gauges": (TelemetryGaugeRow, "received_at", False),
    "notes": (TelemetryNoteRow, "received_at", False),
}


def due(
    session: Session, outboxes: Mapping[tuple[str, str], Origin], size_bytes: Callable[[str], int]
) -> list[str]:
    """Whose devices are to be looked at after a group of batches, by name; one statement at most.

    Args:
        session: of the transaction.
        outboxes: those of the group, by (device, epoch).
        size_bytes: of a device, what was stored of it just now.
    """
    found = {
        device
        for (device, _), outbox in outboxes.items()
        if outbox.arrivals.total // EVERY != outbox.total_before // EVERY or size_bytes(device) >= AT_BYTES
    }
    new = {device for (device, _), outbox in outboxes.items() if outbox.new} - found
    if new:
        row = TelemetryEpochRow
        query = sa.select(row.device).where(among(session, row.device, new)).group_by(row.device)
        found |= set(session.scalars(query.having(sa.func.count() > OUTBOXES)))
    return sorted(found)


def trim(session: Session, device: str, kept: Mapping[Kind, Cap] = KEPT) -> dict[Kind, int]:
    """Delete what a device has too much of; how many of what. Inside a write transaction."""
    gone: dict[Kind, int] = {what: _trim_rows(session, device, what, kept[what]) for what in _KINDS}
    outboxes, windows = _trim_outboxes(session, device, kept["outboxes"])
    gone["outboxes"] = outboxes
    drop_count(session, device, gone, windows=windows)
    return {what: number for what, number in gone.items() if number}


def _trim_rows(session: Session, device: str, what: Kind, keep: Cap) -> int:
    kind, order, by_series = _KINDS[what]
    table = table_of(kind)
    mine: Any = table.c.device == device if not by_series else table.c.series.in_(
        sa.select(TelemetrySeriesRow.id).where(TelemetrySeriesRow.device == device)
    )  # fmt: skip
    size = sa.func.length(table.c.body)
    rows, size_bytes = session.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(size), 0)).where(mine)
    ).one()
    if rows <= keep.rows and size_bytes <= keep.bytes:
        return 0
    if what == "sums":
        mark_changed(session)
    keys = list(table.primary_key.columns)
    oldest = sa.select(*keys, size.label("size")).where(mine).order_by(table.c[order], *keys)
    gone = []
    for row in session.execute(oldest):
        if rows <= keep.rows * _BELOW and size_bytes <= keep.bytes * _BELOW:
            break
        gone.append({f"its_{key.name}": getattr(row, key.name) for key in keys})
        rows, size_bytes = rows - 1, size_bytes - row.size
    if what == "sums":
        forget_of(session, device, ((row["its_level"], row["its_start"]) for row in gone))
    connection = session.connection()
    for one in (table, *([table_of(TelemetryPendingRow)] if what == "windows" else [])):
        where = [one.c[key.name] == sa.bindparam(f"its_{key.name}") for key in keys]
        connection.execute(sa.delete(one).where(*where), gone)
    return len(gone)


def _trim_outboxes(session: Session, device: str, keep: Cap) -> tuple[int, int]:
    """How many outboxes went, and how many windows they had brought."""
    row = TelemetryEpochRow
    query = sa.select(row.id, row.windows).where(row.device == device)
    # Never the newest one: its number would be given again, and rows bear it.
    old = session.execute(query.order_by(row.id.desc()).offset(1)).all()
    if len(old) < keep.rows:
        return 0, 0
    by_use = session.execute(
        query.where(row.id.in_([one.id for one in old]))
        .order_by(row.last_at, row.id)
        .limit(len(old) - keep.rows + 1)
    ).all()
    session.execute(sa.delete(row).where(row.id.in_([one.id for one in by_use])))
    return len(by_use), sum(one.windows for one in by_use)
