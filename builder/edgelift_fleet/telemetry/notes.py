"""Swaps and events: few, kept as the devices' own JSON."""

from __future__ import annotations

from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.histogram import HistogramData
from edgelift_contract.telemetry import DeviceEvent, SwapRecord
from edgelift_fleet.messages import Quantiles, SwapView
from edgelift_fleet.rows import Fault, read_row
from edgelift_fleet.tables import TelemetryNoteRow
from edgelift_fleet.telemetry.joining import quantiles
from edgelift_fleet.telemetry.packing import pack_part

T = TypeVar("T", SwapRecord, DeviceEvent)


def swaps(session: Session, device: str, *, limit: int = 20, into: list[Fault] | None = None) -> list[SwapView]:
    """The device's swaps, newest first; of those that can't be read `into` is told why."""
    query = _bodies(device, "swap").order_by(TelemetryNoteRow.at.desc()).limit(limit)
    return [_swap_view(record) for record in _read(session, query, SwapRecord, device, into)]


def _swap_view(record: SwapRecord) -> SwapView:
    shared = {name: getattr(record, name) for name in SwapView.__struct_fields__ if hasattr(record, name)}
    return SwapView(**shared, before=_of_data(record.before_us), after=_of_data(record.after_us))


def _of_data(data: HistogramData | None) -> Quantiles | None:
    return quantiles(pack_part(data)) if data is not None and data.count else None


def events(
    session: Session, device: str, *, limit: int = 50, into: list[Fault] | None = None
) -> list[DeviceEvent]:
    """The device's events, newest first; of those that can't be read `into` is told why."""
    query = _bodies(device, "event").order_by(TelemetryNoteRow.at.desc(), TelemetryNoteRow.seq.desc()).limit(limit)
    return _read(session, query, DeviceEvent, device, into)


def _read(
    session: Session, query: sa.Select[str], kind: type[T], device: str, into: list[Fault] | None
) -> list[T]:
    faults: list[Fault] = [] if into is None else into
    bodies = (read_row(body, kind, owner=device, what="telemetry", into=faults) for body in session.scalars(query))
    return [one for one in bodies if one is not None]


def _bodies(device: str, kind: str) -> sa.Select[str]:
    return sa.select(TelemetryNoteRow.body).filter_by(device=device, kind=kind)
