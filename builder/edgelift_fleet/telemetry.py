"""Telemetry: items stored once each, and quantiles read by merging histograms.

Delivery is at least once, so every item is keyed by (device, epoch, seq): a second copy changes nothing.
Windows are kept as they came; a quantile over many is read from their merged histograms, never averaged.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.histogram import Histogram, HistogramData
from edgelift_contract.telemetry import Batch, DeviceEvent, Item, SwapRecord, Window
from edgelift_fleet.db import insert_new
from edgelift_fleet.messages import Quantiles, SwapView, VersionLatency
from edgelift_fleet.tables import TelemetryRow


def store(session: Session, batch: Batch) -> int:
    """Keep a batch; returns how many of its items were new. Inside a write transaction.

    Raises:
        ContractError: `malformed` when an item is of no kind or of several.
    """
    now = time.time()
    rows = [{"device": batch.device, "epoch": batch.epoch, "received_at": now, **_row(i)} for i in batch.items]
    return insert_new(session, TelemetryRow, rows)


def _row(item: Item) -> dict[str, object]:
    kinds = {"window": item.window, "gauges": item.gauges, "swap": item.swap, "event": item.event}
    present = [(kind, body) for kind, body in kinds.items() if body is not None]
    if len(present) != 1:
        raise ContractError("malformed", f"The telemetry item {item.seq} must be of exactly one kind.")
    kind, body = present[0]
    if isinstance(body, Window):
        for data in body.latency_us.values():
            _check_histogram(data, item.seq)
    at = getattr(body, "start", None)
    return {
        "seq": item.seq,
        "kind": kind,
        "at": at if at is not None else getattr(body, "at", 0.0),
        "slot": getattr(body, "slot", ""),
        "artifact": getattr(body, "artifact", getattr(body, "artifact_to", "")),
        "version": getattr(body, "version", getattr(body, "version_to", "")),
        "body": codec.canonical_json(body).decode(),
    }


def _check_histogram(data: HistogramData, seq: int) -> None:
    try:
        Histogram.from_data(data)
    except ValueError as error:
        raise ContractError(
            "malformed", f"A histogram of the telemetry item {seq} is not valid: {error}."
        ) from error


def count(session: Session, device: str, kind: str) -> int:
    """How many items of a kind the device has delivered."""
    query = sa.select(sa.func.count()).select_from(TelemetryRow).filter_by(device=device, kind=kind)
    return session.scalar(query) or 0


def latency_by_version(session: Session, device: str, *, since: float = 0.0) -> list[VersionLatency]:
    """The device's latency (phase `total`) by slot and artifact, in the order in which they first served.

    Args:
        session: of the database.
        device: its id.
        since: windows that began before are left out, seconds since 1970.
    """
    query = _bodies(device, "window").where(TelemetryRow.at >= since).order_by(TelemetryRow.at)
    grouped: dict[tuple[str, str], list[Window]] = {}
    for body in session.scalars(query):
        window = msgspec.json.decode(body, type=Window)
        grouped.setdefault((window.slot, window.artifact), []).append(window)
    return [_version_latency(windows) for windows in grouped.values()]


def _version_latency(windows: Sequence[Window]) -> VersionLatency:
    merged = Histogram()
    for window in windows:
        if "total" in window.latency_us:
            merged.merge(Histogram.from_data(window.latency_us["total"]))
    first = windows[0]
    return VersionLatency(
        model=first.model,
        version=first.version,
        artifact=first.artifact,
        windows=len(windows),
        ok=sum(w.ok for w in windows),
        errors=sum(w.errors for w in windows),
        start=min(w.start for w in windows),
        end=max(w.end for w in windows),
        total=quantiles(merged),
    )


def quantiles(histogram: Histogram) -> Quantiles:
    """Count, p50, p95, p99, lowest and highest of a histogram, in its unit."""
    n = histogram.count
    p50, p95, p99 = (round(histogram.quantile(q), 1) for q in (0.5, 0.95, 0.99))
    return Quantiles(n, p50, p95, p99, round(histogram.low, 1) if n else 0.0, round(histogram.high, 1))


def swaps(session: Session, device: str, *, limit: int = 20) -> list[SwapView]:
    """The device's swaps, newest first."""
    query = _bodies(device, "swap").order_by(TelemetryRow.at.desc()).limit(limit)
    return [_swap_view(msgspec.json.decode(body, type=SwapRecord)) for body in session.scalars(query)]


def _swap_view(record: SwapRecord) -> SwapView:
    shared = {name: getattr(record, name) for name in SwapView.__struct_fields__ if hasattr(record, name)}
    return SwapView(**shared, before=_of_data(record.before_us), after=_of_data(record.after_us))


def _of_data(data: HistogramData | None) -> Quantiles | None:
    return quantiles(Histogram.from_data(data)) if data is not None and data.count else None


def events(session: Session, device: str, *, limit: int = 50) -> list[DeviceEvent]:
    """The device's events, newest first."""
    query = _bodies(device, "event").order_by(TelemetryRow.at.desc(), TelemetryRow.seq.desc()).limit(limit)
    return [msgspec.json.decode(body, type=DeviceEvent) for body in session.scalars(query)]


def forget_before(session: Session, received_before: float) -> int:
    """Delete what was received before a time (seconds since 1970); returns how many items."""
    result = session.execute(sa.delete(TelemetryRow).where(TelemetryRow.received_at < received_before))
    return max(0, getattr(result, "rowcount", 0))


def _bodies(device: str, kind: str) -> sa.Select[str]:
    return sa.select(TelemetryRow.body).filter_by(device=device, kind=kind)
