"""A database with devices, and telemetry for it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.histogram import Histogram
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item, LatencyPhase, SwapRecord, Window
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.devices import enrol
from tests.fleet.ready import new_database


def make_database(where: Path | str, devices: dict[str, str]) -> Database:
    """A new database with devices of the given hardware classes."""
    db = new_database(where)
    with db.write(ROWS) as session:
        for name, hardware_class in devices.items():
            add_device(session, name, hardware_class)
    return db


def add_device(session: Session, name: str, hardware_class: str = "arm64-neon") -> None:
    enrol(session, EnrolRequest(schema=1, device=name, facts=DeviceFacts(hardware_class=hardware_class)))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """On each of the two engines, with `pi-1` and `pi-2` (arm64-neon) and `pc-1` (x86-64-avx2)."""
    made = make_database(database_url, {"pi-1": "arm64-neon", "pi-2": "arm64-neon", "pc-1": "x86-64-avx2"})
    yield made
    made.close()


def window(
    start: float,
    values_us: list[float] | None = None,
    *,
    version: str = "1",
    length_s: float = 60.0,
    phases: tuple[LatencyPhase, ...] = ("total",),
    **fields,
) -> Window:
    made = Histogram()
    made.record_all(values_us if values_us is not None else [500.0])
    known = {"slot": "digits", "generation": 1, "artifact": version * 64, "model": "digits", "version": version}
    return Window(
        start=start,
        end=start + length_s,
        **known | {"ok": made.count, "latency_us": dict.fromkeys(phases, made.to_data())} | fields,
    )


def batch(device: str, items: dict[int, object], epoch: str = "outbox-1") -> Batch:
    """Items by their number, each of its own kind."""
    kinds = {Window: "window", Gauges: "gauges", SwapRecord: "swap", DeviceEvent: "event"}
    made = [Item(seq, **{kinds[type(body)]: body}) for seq, body in items.items()]
    return Batch(schema=1, device=device, epoch=epoch, items=made)


def today() -> float:
    """The last UTC midnight but one: a day of which every hour is over."""
    return time.time() // 86400 * 86400 - 86400
