"""A month of telemetry of many boards, written as the control plane would have summed it."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.db import ROWS, SITE, Database
from edgelift_fleet.devices import enrol
from edgelift_fleet.simulate.noise import draw_latencies
from edgelift_fleet.tables import (
    Base,
    TelemetryBucketRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    TelemetrySeriesRow,
    table_of,
)
from edgelift_fleet.telemetry.fold import join_bodies
from edgelift_fleet.telemetry.gauges import join, pack_sums, pack_values, unpack
from edgelift_fleet.telemetry.packing import pack
from edgelift_fleet.telemetry.ranges import DAY, HOUR

DAYS = 30
CLASSES = {"arm64-neon": 9000.0, "arm64-dotprod": 3000.0, "jetson-ampere": 1200.0}
#: What each phase takes of a request.
_SHARES: dict[LatencyPhase, float] = {"total": 1.0, "infer": 0.9, "queue": 0.02, "decode": 0.04, "encode": 0.04}
#: Days to draw from, of each class: a board's day is one of them.
_DRAWN = 40
#: Boards whose minutes are written, of the last two days.
_MINUTES_OF = 20
_MINUTE_DAYS = 2
#: What a board measures beside its latency.
_GAUGES = ("soc_temp_c", "throttled", "cpu_pct", "mem_used_bytes", "disk_free_bytes", "load_1m")
_DAY_MS, _HOUR_MS, _MINUTE_MS = 86_400_000, 3_600_000, 60_000


class Month:
    """Boards in three classes: `barn=north` is a tenth of them, `half` half of them, `every` all.

    Attributes:
        devices: their ids.
        end: of the month: the last UTC midnight, seconds since 1970.
        written: table → (rows, bytes on the disk) of what was written.
    """

    def __init__(self, devices: int) -> None:
        self.devices = [f"board-{n:05d}" for n in range(devices)]
        self.end = time.time() // 86400 * 86400
        self._kinds = list(CLASSES)
        self._rng = np.random.default_rng(7)
        self._hours = {kind: [self._hours_of(mean) for _ in range(_DRAWN)] for kind, mean in CLASSES.items()}
        self._days = {kind: [join_bodies(hours) for hours in days] for kind, days in self._hours.items()}
        self._choice = self._rng.integers(_DRAWN, size=(devices, DAYS))
        self.written: dict[str, tuple[int, int]] = {}

    def _hours_of(self, mean_us: float) -> list[bytes]:
        made = []
        for _ in range(24):
            factor = float(np.exp(self._rng.normal(0, 0.1)))
            made.append(self._window(3600, mean_us * factor))
        return made

    def _window(self, number: int, mean_us: float) -> bytes:
        """All phases, as an agent sends them."""
        return pack({
            phase: draw_latencies(self._rng, number, share * mean_us, 0.25) for phase, share in _SHARES.items()
        })  # fmt: skip

    def write(self, db: Database) -> None:
        """All of it, in the order in which it is kept."""
        with db.write(SITE) as session:
            for n, device in enumerate(self.devices):
                tags = (
                    ({"barn": "north"} if n % 10 == 0 else {})
                    | ({"half": "1"} if n % 2 == 0 else {})
                    | {"every": "1"}
                )
                facts = DeviceFacts(hardware_class=self._kind(n))
                enrol(session, EnrolRequest(schema=1, device=device, facts=facts, tags=tags))
        series = [self._series(n, week) for n in range(len(self.devices)) for week in range(5)]
        fleet = [
            {"id": self._fleet_id(kind, week), "hardware_class": kind, "throttled": False} | _version(week)
            for kind in self._kinds
            for week in range(5)
        ]
        for table, rows in (
            (TelemetryFleetSeriesRow, iter(fleet)), (TelemetrySeriesRow, iter(series)),
            (TelemetryBucketRow, self._of_boards()), (TelemetryFleetBucketRow, self._of_fleet()),
            (TelemetryMinuteRow, self._minutes()), (TelemetryGaugeRow, self._gauges()),
        ):  # fmt: skip
            before = _size(db)
            number = _insert(db, table, rows)
            self.written[table.__tablename__] = (number, _size(db) - before)

    def disk_bytes(self, minute_days: float) -> dict[str, int]:
        """What the month takes on the disk, by table: as it was written, but minutes and gauges, of which a few boards'
        were, as if all had them.

        Args:
            minute_days: how long minutes are kept, days; two were written.
        """
        times = len(self.devices) / min(_MINUTES_OF, len(self.devices))
        found = {name: size for name, (_, size) in self.written.items()}
        for name in ("telemetry_minute", "telemetry_gauge"):
            found[name] = int(found[name] * times * (minute_days / _MINUTE_DAYS if name.endswith("minute") else 1))
        return found

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
        """In the order in which they come, hour by hour: so the tables' pages are as full as a site's are."""
        for day in range(DAYS):
            for hour in range(24):
                at = self._at(day) + hour * _HOUR_MS
                for _, number, hours in self._on(day):
                    yield _bucket(number, HOUR, at, _HOUR_MS, 1, hours[hour])
            for board, number, _ in self._on(day):
                body = self._days[self._kind(board)][self._choice[board][day]]
                yield _bucket(number, DAY, self._at(day), _DAY_MS, 1, body)

    def _on(self, day: int) -> Iterator[tuple[int, int, list[bytes]]]:
        """Of each board its series on a day, and its hours."""
        for board in range(len(self.devices)):
            yield board, 1 + 5 * board + day // 7, self._hours[self._kind(board)][self._choice[board][day]]

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
        bodies = [self._window(60, 3000.0) for _ in range(50)]
        for day in range(DAYS - _MINUTE_DAYS, DAYS):
            for minute in range(24 * 60):
                start = self._at(day) + minute * _MINUTE_MS
                for board in range(min(_MINUTES_OF, len(self.devices))):
                    yield {
                        "series": 1 + 5 * board + day // 7, "start": start, "epoch": 1, "seq": day * 1440 + minute,
                        "stop": start + _MINUTE_MS, "received_at": start / 1000 + 60, "ok": 60, "errors": 0,
                        "body": bodies[(minute + board) % 50],
                    }  # fmt: skip

    def _gauges(self) -> Iterator[dict[str, Any]]:
        """Minutes of two days, hours before them: of the boards whose minutes are written."""
        values = [
            dict(zip(_GAUGES, self._rng.uniform(1, 100, len(_GAUGES)).round(2).tolist(), strict=True))
            for _ in range(60)
        ]
        minutes = [pack_values(one) for one in values]
        hour = pack_sums(join([unpack(0, one) for one in minutes]))
        for day in range(DAYS):
            many, level, length = (24, 1, _HOUR_MS) if day < DAYS - _MINUTE_DAYS else (1440, 0, _MINUTE_MS)
            for n in range(many):
                start = self._at(day) + n * length
                for board in range(min(_MINUTES_OF, len(self.devices))):
                    yield {
                        "device": self.devices[board], "level": level, "start": start, "epoch": 1 - level,
                        "seq": (1 - level) * (day * 1440 + n), "received_at": start / 1000 + 60,
                        "body": hour if level else minutes[(n + board) % 60],
                    }  # fmt: skip

    def waiting(self, db: Database, number: int) -> None:
        """Windows of the last half minute that are not summed yet, one of each of so many boards."""
        body = self._window(60, 3000.0)
        start = int(self.end * 1000) - 30_000
        keys = [
            {"series": 1 + 5 * board + (DAYS - 1) // 7, "start": start, "epoch": 2, "seq": time.time_ns()}
            for board in range(min(number, len(self.devices)))
        ]
        rest = {"stop": start + _MINUTE_MS, "received_at": start / 1000 + 60, "ok": 60, "errors": 0, "body": body}
        _insert(db, TelemetryMinuteRow, ({**key, **rest} for key in keys))
        _insert(db, TelemetryPendingRow, iter(keys))


def _version(week: int) -> dict[str, Any]:
    return {"slot": "digits", "artifact": f"{week}" * 64, "model": "digits", "version": f"{week + 1}"}


def _bucket(series: int, level: int, start: int, length: int, boards: int, body: bytes) -> dict[str, Any]:
    windows = boards * length // _MINUTE_MS
    return {
        "series": series, "level": level, "start": start, "first": start, "last": start + length,
        "received_at": start / 1000, "received_last": (start + length) / 1000, "windows": windows, "ok": 60 * windows,
        "errors": 0, "body": body,
    }  # fmt: skip


def _insert(db: Database, table: type[Base], rows: Iterator[dict[str, Any]]) -> int:
    plain, number = table_of(table), 0
    with db.write(ROWS) as session:
        # In memory until all are there: each hour touches every board's page, and each would be written 700 times else.
        session.connection().exec_driver_sql("PRAGMA cache_size = -4000000")
        while some := list(islice(rows, 20_000)):
            session.connection().execute(plain.insert(), some)
            number += len(some)
    return number


def _size(db: Database) -> int:
    """Bytes of an SQLite database."""
    with db.read() as session:
        pages, size = (
            session.connection().exec_driver_sql(f"PRAGMA {n}").scalar() for n in ("page_count", "page_size")
        )
    return int(pages or 0) * int(size or 0)
