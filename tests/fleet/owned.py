"""What the database holds of each device, table by table: what another device's words must never change."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.tables import (
    Base,
    DeviceRow,
    TelemetryBucketRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
)

#: Tables whose rows are a device's by their series.
BY_SERIES = (TelemetryMinuteRow, TelemetryPendingRow, TelemetryBucketRow)


def owned_tables() -> dict[str, sa.ColumnElement[str]]:
    """Table → the column, or the subquery, that says whose a row is."""
    found: dict[str, sa.ColumnElement[str]] = {}
    for table in Base.metadata.sorted_tables:
        if table.name == DeviceRow.__tablename__:
            found[table.name] = table.c.id
        elif "device" in table.c:
            found[table.name] = table.c.device
    for row in BY_SERIES:
        owner = sa.select(TelemetrySeriesRow.device).where(TelemetrySeriesRow.id == row.series)
        found[row.__tablename__] = owner.correlate(row.__table__).scalar_subquery()
    return found


def _owned_rows() -> dict[str, sa.Select[tuple[object, ...]]]:
    """Table → its rows of the devices `wanted`; made once, for they are asked for thousands of times."""
    wanted = sa.bindparam("wanted", type_=sa.String(), expanding=True)
    found: dict[str, sa.Select[tuple[object, ...]]] = {}
    for name, owner in owned_tables().items():
        table = Base.metadata.tables[name]
        found[name] = sa.select(table).where(owner.in_(wanted)).order_by(*table.primary_key.columns)
    return found


_ROWS = _owned_rows()


def rows_of(session: Session, devices: Iterable[str]) -> dict[str, list[tuple[object, ...]]]:
    """Table → the rows of these devices, in a fixed order."""
    wanted, connection = {"wanted": sorted(devices)}, session.connection()
    return {name: [tuple(row) for row in connection.execute(query, wanted)] for name, query in _ROWS.items()}
