"""Swaps and events: few, kept as the devices' own JSON."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.histogram import HistogramData
from edgelift_contract.telemetry import DeviceEvent, SwapRecord
from edgelift_fleet.messages import Quantiles, SwapView
from edgelift_fleet.tables import TelemetryNoteRow
from edgelift_fleet.telemetry.joining import quantiles
from edgelift_fleet.telemetry.packing import pack_part


def swaps(session: Session, device: str, *, limit: int = 20) -> list[SwapView]:
    """The device's swaps, newest first."""
    query = _bodies(device, "swap").order_by(TelemetryNoteRow.at.desc()).limit(limit)
    return [_swap_view(msgspec.json.decode(body, type=SwapRecord)) for body in session.scalars(query)]


def _swap_view(record: SwapRecord) -> SwapView:
    shared = {name: getattr(record, name) for name in SwapView.__struct_fields__ if hasattr(record, name)}
    return SwapView(**shared, before=_of_data(record.before_us), after=_of_data(record.after_us))


def _of_data(data: HistogramData | None) -> Quantiles | None:
    return quantiles(pack_part(data)) if data is not None and data.count else None


def events(session: Session, device: str, *, limit: int = 50) -> list[DeviceEvent]:
    """The device's events, newest first."""
    query = _bodies(device, "event").order_by(TelemetryNoteRow.at.desc(), TelemetryNoteRow.seq.desc()).limit(limit)
    return [msgspec.json.decode(body, type=DeviceEvent) for body in session.scalars(query)]


def _bodies(device: str, kind: str) -> sa.Select[str]:
    return sa.select(TelemetryNoteRow.body).filter_by(device=device, kind=kind)
