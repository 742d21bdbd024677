"""What was set aside of a device's telemetry because no board can have measured it (`plausible`): how much, and why.

One row a device, whatever it sends: a count of windows and of gauges, when first and last, and the last reason. The
device's own page and list show it; a mend clears it, and so does time, as for events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.db import insert_new
from edgelift_fleet.rows import Fault
from edgelift_fleet.tables import TelemetryDoubtRow, table_of

IMPLAUSIBLE = "implausible"
#: More devices than this are not named in a statement: databases bound its parameters.
_NAMED = 500
_LONGEST = 500


@dataclass
class SetAside:
    """Of one device, in one transaction: windows and gauges that were set aside, and the last reason."""

    windows: int = 0
    gauges: int = 0
    why: str = ""


def keep_doubts(session: Session, found: Mapping[str, SetAside], now: float) -> None:
    """Count what was set aside; by device. Inside a write transaction."""
    if not found:
        return
    nothing = {"windows": 0, "gauges": 0, "since": now, "last_at": now, "why": ""}
    insert_new(session, TelemetryDoubtRow, [{"device": device, **nothing} for device in sorted(found)])
    table = table_of(TelemetryDoubtRow)
    rows = [
        {"key": device, "more": one.windows, "others": one.gauges, "now": now, "new": one.why[:_LONGEST]}
        for device, one in sorted(found.items())
    ]
    session.connection().execute(
        sa.update(table)
        .where(table.c.device == sa.bindparam("key"))
        .values(
            windows=table.c.windows + sa.bindparam("more"), gauges=table.c.gauges + sa.bindparam("others"),
            last_at=sa.bindparam("now"), why=sa.bindparam("new"),
        ),
        rows,
    )  # fmt: skip


def doubts_of(session: Session, devices: Collection[str]) -> dict[str, Fault]:
    """What is to be said of each of these devices of which something was set aside; one statement."""
    row = TelemetryDoubtRow
    query = sa.select(row.device, row.windows, row.gauges, row.why)
    if len(devices) <= _NAMED:
        query = query.where(row.device.in_(sorted(devices)))
    return {
        device: _fault(device, windows, gauges, why)
        for device, windows, gauges, why in session.execute(query)
        if device in devices
    }


def doubted_since(session: Session, at: float) -> set[str]:
    """Devices of which something was set aside since a time, host's clock, seconds since 1970."""
    return set(session.scalars(sa.select(TelemetryDoubtRow.device).where(TelemetryDoubtRow.last_at >= at)))


def _fault(device: str, windows: int, gauges: int, why: str) -> Fault:
    parts = [_many(number, noun) for number, noun in ((windows, "window"), (gauges, "gauge")) if number]
    return Fault(
        "telemetry", IMPLAUSIBLE, f"{' and '.join(parts)} of {device} can't be, and count for nothing. The last: {why}",
        f"Look at the board and at who has its token; edgelift devices mend {device} clears this.",
    )  # fmt: skip


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
