"""What devices deliver, stored once each: many batches in one transaction, a fixed number of statements for all.

Delivery is at least once, so an item is known by (device, epoch, seq): what came is remembered per outbox as runs
(`arrivals`), so a second copy changes nothing, whatever became of the first. Windows wait in `telemetry_pending` for
being summed (`fold`), and are read from there until then.

A device's clock may be wrong: what claims a time that can't be is filed under the time at which it was received. What no
board can have measured is set aside (`plausible`, `doubts`): it came, and counts for nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item, SwapRecord, Window
from edgelift_fleet.caps import KEPT, Cap, Kind
from edgelift_fleet.db import among, insert_rows
from edgelift_fleet.tables import (
    DeviceRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNoteRow,
    TelemetryPendingRow,
)
from edgelift_fleet.telemetry.doubts import SetAside, keep_doubts
from edgelift_fleet.telemetry.gauges import keep_newest, pack_values
from edgelift_fleet.telemetry.outboxes import Origin, outboxes_of, save_outboxes
from edgelift_fleet.telemetry.packing import pack
from edgelift_fleet.telemetry.plausible import doubt_gauge, doubt_window
from edgelift_fleet.telemetry.ranges import NEWEST_S, OLDEST_S
from edgelift_fleet.telemetry.series import SeriesOf
from edgelift_fleet.telemetry.trimming import due, trim

#: No window is longer: the agent joins what waits to at most a day.
_LONGEST_MS = 2 * 86400_000


def check_batch(batch: Batch) -> None:
    """Hold what its types can't say.

    Raises:
        ContractError: `malformed` when an item is of no kind or of several.
    """
    for item in batch.items:
        if (item.window is not None) + (item.gauges is not None) + (item.swap is not None) + (
            item.event is not None
        ) != 1:
            raise ContractError("malformed", f"The telemetry item {item.seq} must be of exactly one kind.")


def store(session: Session, batch: Batch) -> int:
    """Keep a batch; returns how many of its items were new. Inside a write transaction.

    Raises:
        ContractError: `malformed` as `check_batch`, `not-found` when the device never enrolled.
    """
    check_batch(batch)
    (done,) = store_many(session, [batch])
    if isinstance(done, ContractError):
        raise done
    return done


def store_many(
    session: Session,
    batches: Sequence[Batch],
    *,
    received_at: float | None = None,
    kept: Mapping[Kind, Cap] = KEPT,
) -> list[int | ContractError]:
    """Keep batches of any devices, each held to `check_batch` before. Inside a write transaction.

    Args:
        session: of the database.
        batches: in the order in which they came.
        received_at: host's clock, seconds since 1970; now when left out.
        kept: how much of one device is.

    Returns:
        For each batch how many of its items were new, or `not-found` when its device never enrolled.
    """
    now = time.time() if received_at is None else received_at
    classes = _classes(session, {batch.device for batch in batches})
    known = [batch for batch in batches if batch.device in classes]
    outboxes = outboxes_of(session, {(batch.device, batch.epoch) for batch in known})
    series = SeriesOf(session, classes)
    rows = _Rows(series, now)
    done: list[int | ContractError] = []
    for batch in batches:
        if batch.device not in classes:
            done.append(ContractError("not-found", f"There is no device {batch.device!r}.", hint=_ENROL))
            continue
        done.append(rows.take(batch, outboxes[batch.device, batch.epoch]))
    rows.write(session)
    save_outboxes(session, outboxes.values(), now)
    for device in due(session, outboxes, rows.size_bytes):
        trim(session, device, kept)
    return done


_ENROL = "It enrols when its agent starts; edgelift devices lists those that did."


def _classes(session: Session, devices: Collection[str]) -> dict[str, str]:
    """The devices that enrolled, with their hardware class."""
    query = sa.select(DeviceRow.id, DeviceRow.hardware_class).where(among(session, DeviceRow.id, devices))
    return {row.id: row.hardware_class for row in session.execute(query)}


class _Rows:
    """Rows to be inserted, table by table."""

    def __init__(self, series: SeriesOf, now: float) -> None:
        self._series, self._now = series, now
        self._oldest_ms, self._newest_ms = int((now - OLDEST_S) * 1000), int((now + NEWEST_S) * 1000)
        self._minutes: list[dict[str, Any]] = []
        self._windows: list[tuple[str, Window]] = []
        self._gauges: list[dict[str, Any]] = []
        self._notes: list[dict[str, Any]] = []
        self._newest: dict[str, tuple[int, bytes]] = {}
        self._doubts: dict[str, SetAside] = {}
        self._bytes: Counter[str] = Counter()

    def take(self, batch: Batch, outbox: Origin) -> int:
        """Add the items of a batch that did not come before; returns how many."""
        new = 0
        for item in batch.items:
            if outbox.arrivals.add(item.seq):
                new += 1
                if item.window is not None:
                    outbox.windows += 1
                    self._window(batch.device, outbox.id, item.seq, item.window)
                else:
                    self._other(batch.device, outbox.id, item)
        return new

    def _span(self, start: float, end: float) -> tuple[int, int]:
        """Start and end in milliseconds, as believed."""
        began = int(start * 1000) if abs(start) < 1e12 else 0
        if not self._oldest_ms <= began <= self._newest_ms:
            began = int(self._now * 1000)
        length = int((end - start) * 1000) if 0 <= end - start < 1e9 else 0
        return began, began + min(length, _LONGEST_MS)

    def _window(self, device: str, epoch: int, seq: int, window: Window) -> None:
        if why := doubt_window(window):
            self._doubt(device, why).windows += 1
            return
        self._windows.append((device, window))
        made = self._minute(epoch, seq, window)
        self._minutes.append(made)
        self._bytes[device] += len(made["body"])

    def size_bytes(self, device: str) -> int:
        """What was added of a device: bytes of its bodies."""
        return self._bytes[device]

    def _doubt(self, device: str, why: str) -> SetAside:
        found = self._doubts.setdefault(device, SetAside())
        found.why = why
        return found

    def _minute(self, epoch: int, seq: int, window: Window) -> dict[str, Any]:
        start, stop = self._span(window.start, window.end)
        return {
            "start": start,
            "epoch": epoch,
            "seq": seq,
            "stop": stop,
            "received_at": self._now,
            "ok": window.ok,
            "errors": window.errors,
            "body": pack(window.latency_us),
        }

    def _other(self, device: str, epoch: int, item: Item) -> None:
        if item.gauges is not None:
            self._gauge(device, epoch, item.seq, item.gauges)
            return
        kind, note = ("swap", item.swap) if item.swap is not None else ("event", item.event)
        if note is not None:
            made = _note(device, epoch, item.seq, kind, note, self._now)
            self._notes.append(made)
            self._bytes[device] += len(made["body"])

    def _gauge(self, device: str, epoch: int, seq: int, gauges: Gauges) -> None:
        start, stop = self._span(gauges.start, gauges.end)
        believed: dict[str, float] = {}
        for name, value in gauges.values.items():
            if why := doubt_gauge(name, value):
                self._doubt(device, why).gauges += 1
            else:
                believed[name] = value
        body = pack_values(believed)
        self._gauges.append({
            "device": device, "level": 0, "start": start, "epoch": epoch, "seq": seq, "received_at": self._now,
            "body": body,
        })  # fmt: skip
        if device not in self._newest or stop >= self._newest[device][0]:
            self._newest[device] = (stop, body)

    def write(self, session: Session) -> None:
        """Insert them all."""
        for row, number in zip(self._minutes, self._series.ids_of(self._windows), strict=True):
            row["series"] = number
        keys = [{name: row[name] for name in ("series", "start", "epoch", "seq")} for row in self._minutes]
        for table, rows in (
            (TelemetryMinuteRow, self._minutes), (TelemetryPendingRow, keys), (TelemetryGaugeRow, self._gauges),
            (TelemetryNoteRow, self._notes),
        ):  # fmt: skip
            insert_rows(session, table, rows)
        keep_newest(session, self._newest)
        keep_doubts(session, self._doubts, self._now)


def _note(
    device: str, epoch: int, seq: int, kind: str, note: SwapRecord | DeviceEvent, now: float
) -> dict[str, Any]:
    key = {"device": device, "epoch": epoch, "seq": seq}
    return {**key, "kind": kind, "at": note.at, "received_at": now, "body": codec.canonical_json(note).decode()}
