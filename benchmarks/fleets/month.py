"""A month of telemetry of many boards, written as the control plane would have summed it."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.devices import enrol
from edgelift_fleet.simulate.noise import draw_latencies
from edgelift_fleet.tables import (
    Base,
    TelemetryBucketRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryMinuteRow,
    TelemetrySeriesRow,
    table_of,
)
from edgelift_fleet.telemetry.fold import join_bodies
from edgelift_fleet.telemetry.packing import pack
from edgelift_fleet.telemetry.ranges import DAY, HOUR

DAYS = 30
CLASSES = {"arm64-neon": 9000.0, "arm64-dotprod": 3000.0, "jetson-ampere": 1200.0}
#: Days to draw from, of each class: a board's day is one of them.
_DRAWN = 40
#: Boards whose minutes are written, of the last two days.
_MINUTES_OF = 20
_DAY_MS, _HOUR_MS, _MINUTE_MS = 86_400_000, 3_600_000, 60_000


class Month:
    """Boards in three classes: `barn=north` is a tenth of them, `half` half of them.

    Attributes:
        devices: their ids.
        end: of the month: the last UTC midnight, seconds since 1970.
    """

    def __init__(self, devices: int) -> None:
        self.devices = [f"board-{n:05d}" for n in range(devices)]
        self.end = time.time() // 86400 * 86400
        self._kinds = list(CLASSES)
        self._rng = np.random.default_rng(7)
        self._hours = {kind: [self._hours_of(mean) for _ in range(_DRAWN)] for kind, mean in CLASSES.items()}
        self._days = {kind: [join_bodies(hours) for hours in days] for kind, days in self._hours.items()}
        self._choice = self._rng.integers(_DRAWN, size=(devices, DAYS))

    def _hours_of(self, mean_us: float) -> list[bytes]:
        made = []
        for _ in range(24):
            factor = float(np.exp(self._rng.normal(0, 0.1)))
            total = draw_latencies(self._rng, 3600, mean_us * factor, 0.25)
            infer = draw_latencies(self._rng, 3600, 0.9 * mean_us * factor, 0.25)
            made.append(pack({"total": total, "infer": infer}))
        return made

    def write(self, db: Database) -> None:
        """All of it, in the order in which it is kept."""
        with db.write(SITE) as session:
            for n, device in enumerate(self.devices):
                tags = ({"barn": "north"} if n % 10 == 0 else {}) | ({"half": "1"} if n % 2 == 0 else {})
                facts = DeviceFacts(hardware_class=self._kind(n))
                enrol(session, EnrolRequest(schema=1, device=device, facts=facts, tags=tags))
        series = [self._series(n, week) for n in range(len(self.devices)) for week in range(5)]
        fleet = [
            {"id": self._fleet_id(kind, week), "hardware_class": kind, "throttled": False} | _version(week)
            for kind in self._kinds
            for week in range(5)
        ]
        _insert(db, TelemetryFleetSeriesRow, iter(fleet))
        _insert(db, TelemetrySeriesRow, iter(series))
        _insert(db, TelemetryBucketRow, self._of_boards())
        _insert(db, TelemetryFleetBucketRow, self._of_fleet())
        _insert(db, TelemetryMinuteRow, self._minutes())

    def _kind(self, board: int) -> str:
        return self._kinds[board % len(self._kinds)]

    def _fleet_id(self, kind: str, week: int) -> int:
        return 1 + 5 * self._kinds.index(kind) + week

    def _series(self, board: int, week: int) -> dict[str, Any]:
        kind = self._kind(board)
        return {
            "id": 1 + 5 * board + week, "device": self.devices[board], "hardware_class": kind, "throttled": False,
            "probation": False, "fleet": self._fleet_id(kind, week),
        } | _version(week)  # fmt: skip

    def _at(self, day: int) -> int:
        return int(self.end * 1000) - (DAYS - day) * _DAY_MS

    def _of_boards(self) -> Iterator[dict[str, Any]]:
        for board in range(len(self.devices)):
            kind = self._kind(board)
            for week in range(5):
                days = range(7 * week, min(DAYS, 7 * week + 7))
                number, drawn = 1 + 5 * board + week, self._choice[board]
                for day in days:
                    for hour, body in enumerate(self._hours[kind][drawn[day]]):
                        yield _bucket(number, HOUR, self._at(day) + hour * _HOUR_MS, _HOUR_MS, 1, body)
                for day in days:
                    yield _bucket(number, DAY, self._at(day), _DAY_MS, 1, self._days[kind][drawn[day]])

    def _of_fleet(self) -> Iterator[dict[str, Any]]:
        for index, kind in enumerate(self._kinds):
            boards = range(index, len(self.devices), len(self._kinds))
            for day in range(DAYS):
                number = self._fleet_id(kind, day // 7)
                drawn = [int(self._choice[board][day]) for board in boards]
                for hour in range(24):
                    body = join_bodies([self._hours[kind][one][hour] for one in drawn])
                    yield _bucket(number, HOUR, self._at(day) + hour * _HOUR_MS, _HOUR_MS, len(boards), body)
                body = join_bodies([self._days[kind][one] for one in drawn])
                yield _bucket(number, DAY, self._at(day), _DAY_MS, len(boards), body)

    def _minutes(self) -> Iterator[dict[str, Any]]:
        bodies = [pack({"total": draw_latencies(self._rng, 60, 3000.0, 0.25)}) for _ in range(50)]
        for board in range(min(_MINUTES_OF, len(self.devices))):
            for day in (DAYS - 2, DAYS - 1):
                for minute in range(24 * 60):
                    start = self._at(day) + minute * _MINUTE_MS
                    yield {
                        "series": 1 + 5 * board + day // 7, "start": start, "epoch": 1, "seq": day * 1440 + minute,
                        "stop": start + _MINUTE_MS, "received_at": start / 1000 + 60, "ok": 60, "errors": 0,
                        "body": bodies[minute % 50],
                    }  # fmt: skip


def _version(week: int) -> dict[str, Any]:
    return {"slot": "digits", "artifact": f"{week}" * 64, "model": "digits", "version": f"{week + 1}"}


def _bucket(series: int, level: int, start: int, length: int, boards: int, body: bytes) -> dict[str, Any]:
    windows = boards * length // _MINUTE_MS
    return {
        "series": series, "level": level, "start": start, "first": start, "last": start + length,
        "received_at": start / 1000, "received_last": (start + length) / 1000, "windows": windows, "ok": 60 * windows,
        "errors": 0, "body": body,
    }  # fmt: skip


def _insert(db: Database, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    plain, some = table_of(table), list[dict[str, Any]]()
    with db.write(ROWS) as session:
        for row in rows:
            some.append(row)
            if len(some) == 20_000:
                session.connection().execute(plain.insert(), some)
                some = []
        if some:
            session.connection().execute(plain.insert(), some)
