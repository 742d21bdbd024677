"""Telemetry is summed by hour and day; windows are kept in few bytes, and what came is known by runs of numbers.

What a site has is taken over: every window, gauge, swap and event, and which items came. An item that can't be read is
left out, and is not asked for again. On the way back hours whose windows are gone become one window each, and the
joined gauges their means.
"""

import json
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as lite_insert

from edgelift_contract.telemetry import DeviceEvent, Gauges, SwapRecord, Window
from edgelift_fleet.telemetry import gauges as gauge_bodies
from edgelift_fleet.telemetry.arrivals import Arrivals
from edgelift_fleet.telemetry.packing import pack, to_data, unpack

revision = "0008"
down_revision = "0007"

_BY_KEY: Any = {"sqlite_with_rowid": False}
_ONCE = 1000
_KINDS: dict[str, Any] = {"window": Window, "gauges": Gauges, "swap": SwapRecord, "event": DeviceEvent}


def _text(name: Any, length: Any = 64) -> Any:
    return sa.Column(name, sa.String(length), nullable=False)


def _big(name: Any, **options: Any) -> Any:
    return sa.Column(name, sa.BigInteger(), nullable=False, **options)


def _double(name: Any) -> Any:
    return sa.Column(name, sa.Double(), nullable=False)


def _key(*names: Any) -> Any:
    return [_big(name, autoincrement=False) for name in names]


def _device() -> Any:
    return sa.Column("device", sa.String(64), sa.ForeignKey("device.id"), nullable=False)


def _bucket(table: Any, of: Any) -> None:
    op.create_table(
        table,
        sa.Column("series", sa.Integer(), sa.ForeignKey(f"{of}.id"), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        *_key("start"), _big("first"), _big("last"), _double("received_at"), _double("received_last"),
        _big("windows"), _big("ok"), _big("errors"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "level", "start"),
        **_BY_KEY,
    )  # fmt: skip


def _create() -> None:
    op.create_table(
        "telemetry_epoch",
        sa.Column("id", sa.Integer(), nullable=False), _device(), _text("epoch", 128),
        sa.Column("seen", sa.LargeBinary(), nullable=False), _big("windows"), _double("last_at"),
        sa.PrimaryKeyConstraint("id"), sa.UniqueConstraint("device", "epoch"),
    )  # fmt: skip
    said = ("slot", "artifact", "model", "version", "hardware_class")
    op.create_table(
        "telemetry_fleet_series",
        sa.Column("id", sa.Integer(), nullable=False), *(_text(name) for name in said),
        sa.Column("throttled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"), sa.UniqueConstraint(*said, "throttled"),
    )  # fmt: skip
    op.create_table(
        "telemetry_series",
        sa.Column("id", sa.Integer(), nullable=False), _device(), *(_text(name) for name in said),
        sa.Column("throttled", sa.Boolean(), nullable=False),
        sa.Column("probation", sa.Boolean(), nullable=False),
        sa.Column("fleet", sa.Integer(), sa.ForeignKey("telemetry_fleet_series.id"), nullable=False),
        sa.PrimaryKeyConstraint("id"), sa.UniqueConstraint("device", *said, "throttled", "probation"),
    )  # fmt: skip
    op.create_index("ix_telemetry_series_fleet", "telemetry_series", ["fleet"])
    op.create_table(
        "telemetry_minute",
        sa.Column("series", sa.Integer(), sa.ForeignKey("telemetry_series.id"), nullable=False),
        *_key("start"), sa.Column("epoch", sa.Integer(), nullable=False), *_key("seq"), _big("stop"),
        _double("received_at"), _big("ok"), _big("errors"), sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series", "start", "epoch", "seq"), **_BY_KEY,
    )  # fmt: skip
    op.create_index("ix_telemetry_minute_received_at", "telemetry_minute", ["received_at"])
    op.create_table(
        "telemetry_pending",
        sa.Column("series", sa.Integer(), nullable=False), *_key("start"),
        sa.Column("epoch", sa.Integer(), nullable=False), *_key("seq"),
        sa.PrimaryKeyConstraint("series", "start", "epoch", "seq"), **_BY_KEY,
    )  # fmt: skip
    _bucket("telemetry_bucket", "telemetry_series")
    _bucket("telemetry_fleet_bucket", "telemetry_fleet_series")
    op.create_table(
        "telemetry_gauge",
        _device(), sa.Column("level", sa.Integer(), nullable=False), *_key("start"),
        sa.Column("epoch", sa.Integer(), nullable=False), *_key("seq"), _double("received_at"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "level", "start", "epoch", "seq"), **_BY_KEY,
    )  # fmt: skip
    op.create_index("telemetry_gauge_by_age", "telemetry_gauge", ["level", "received_at"])
    op.create_table(
        "telemetry_newest",
        _device(), _big("at"), sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device"),
    )  # fmt: skip
    op.create_table(
        "telemetry_note",
        _device(), sa.Column("epoch", sa.Integer(), nullable=False), *_key("seq"), _text("kind", 16),
        _double("at"), _double("received_at"), sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq"),
    )  # fmt: skip
    op.create_index("ix_telemetry_note_received_at", "telemetry_note", ["received_at"])
    op.create_index("telemetry_note_by_device", "telemetry_note", ["device", "kind", "at"])
    op.create_table(
        "telemetry_sample",
        _device(), _double("since"), _double("until"), sa.PrimaryKeyConstraint("device", "since"),
    )  # fmt: skip


def upgrade() -> None:
    _create()
    db = op.get_bind()
    old = sa.Table("telemetry", sa.MetaData(), autoload_with=db)
    take = _Taking(db)
    keys = [old.c.device, old.c.epoch, old.c.seq]
    after = ("", "", -1)
    while True:
        query = (
            sa.select(old)
            .where(sa.tuple_(*keys) > sa.tuple_(*map(sa.literal, after)))
            .order_by(*keys)
            .limit(_ONCE)
        )
        rows = db.execute(query).mappings().all()
        if not rows:
            break
        for row in rows:
            take.one(row)
        take.write()
        last = rows[-1]
        after = (last["device"], last["epoch"], last["seq"])
    take.finish()
    op.drop_table("telemetry")


class _Taking:
    """Old items on their way into the new tables."""

    def __init__(self, db: Any) -> None:
        self.db = db
        names = ("epoch", "fleet_series", "series", "minute", "pending", "gauge", "newest", "note")
        self.tables = {n: sa.Table(f"telemetry_{n}", sa.MetaData(), autoload_with=db) for n in names}
        self.rows: dict[str, list[Any]] = {n: [] for n in ("minute", "pending", "gauge", "note")}
        self.series: dict[Any, int] = {}
        self.fleet: dict[Any, int] = {}
        self.newest: dict[str, tuple[float, bytes]] = {}
        self.outbox: Any = None
        self.arrivals, self.windows = Arrivals(), 0
        self.classes = dict(db.execute(sa.text("SELECT id, hardware_class FROM device")).all())

    def one(self, row: Any) -> None:
        if self.outbox is None or self.outbox[:2] != (row["device"], row["epoch"]):
            self._save()
            self.outbox = (row["device"], row["epoch"], self._insert("epoch", {
                "device": row["device"], "epoch": row["epoch"], "seen": b"", "windows": 0,
                "last_at": row["received_at"],
            }))  # fmt: skip
        self.arrivals.add(row["seq"])
        try:
            body = msgspec.json.decode(row["body"], type=_KINDS[row["kind"]])
            getattr(self, row["kind"])(row, body)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, OverflowError, ValueError):
            return  # as before: what can't be read costs itself

    def window(self, row: Any, w: Any) -> None:
        key = {
            "series": self._series(row["device"], w), "start": int(w.start * 1000), "epoch": self.outbox[2],
            "seq": row["seq"],
        }  # fmt: skip
        self.rows["minute"].append({
            **key, "stop": int(w.end * 1000), "received_at": row["received_at"], "ok": w.ok, "errors": w.errors,
            "body": pack(w.latency_us),
        })  # fmt: skip
        self.rows["pending"].append(key)
        self.windows += 1

    def gauges(self, row: Any, g: Any) -> None:
        body = gauge_bodies.pack_values(g.values)
        self.rows["gauge"].append({
            "device": row["device"], "level": 0, "start": int(g.start * 1000), "epoch": self.outbox[2],
            "seq": row["seq"], "received_at": row["received_at"], "body": body,
        })  # fmt: skip
        if g.end >= self.newest.get(row["device"], (0.0, b""))[0]:
            self.newest[row["device"]] = (g.end, body)

    def swap(self, row: Any, _: Any) -> None:
        self.rows["note"].append({
            "device": row["device"], "epoch": self.outbox[2], "seq": row["seq"], "kind": row["kind"],
            "at": row["at"], "received_at": row["received_at"], "body": row["body"],
        })  # fmt: skip

    event = swap

    def _series(self, device: Any, w: Any) -> Any:
        said = {
            "slot": w.slot, "artifact": w.artifact[:64], "model": w.model[:64], "version": w.version[:64],
            "hardware_class": self.classes.get(device, ""), "throttled": w.throttled,
        }  # fmt: skip
        fleet_key, key = tuple(said.values()), (device, *said.values(), w.probation)
        if key not in self.series:
            if fleet_key not in self.fleet:
                self.fleet[fleet_key] = self._insert("fleet_series", said)
            own = {**said, "device": device, "probation": w.probation, "fleet": self.fleet[fleet_key]}
            self.series[key] = self._insert("series", own)
        return self.series[key]

    def _insert(self, table: Any, row: Any) -> Any:
        return self.db.execute(sa.insert(self.tables[table]).values(**row)).inserted_primary_key[0]

    def _save(self) -> None:
        if self.outbox is not None:
            epoch = self.tables["epoch"]
            made = {"seen": self.arrivals.to_bytes(), "windows": self.windows}
            self.db.execute(sa.update(epoch).where(epoch.c.id == self.outbox[2]).values(**made))
        self.arrivals, self.windows = Arrivals(), 0

    def write(self) -> None:
        for name, rows in self.rows.items():
            if rows:
                self.db.execute(sa.insert(self.tables[name]), rows)
                rows.clear()

    def finish(self) -> None:
        self._save()
        rows = [{"device": d, "at": int(at * 1000), "body": body} for d, (at, body) in self.newest.items()]
        if rows:
            self.db.execute(sa.insert(self.tables["newest"]), rows)


def downgrade() -> None:
    op.create_table(
        "telemetry",
        _device(), _text("epoch", 128),
        *_key("seq"), _text("kind", 16), _double("at"), _text("slot"), _text("artifact"), _text("version"),
        _double("received_at"), sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch", "seq"),
    )  # fmt: skip
    op.create_index("ix_telemetry_received_at", "telemetry", ["received_at"])
    op.create_index("telemetry_by_device", "telemetry", ["device", "kind", "at"])
    _Back(op.get_bind()).all()
    for table in (
        "sample", "note", "newest", "gauge", "fleet_bucket", "bucket", "pending", "minute", "series",
        "fleet_series", "epoch",
    ):  # fmt: skip
        op.drop_table(f"telemetry_{table}")


#: Items that are sums of several have an outbox of their own.
_JOINED = "joined"


class _Back:
    """New rows on their way into the old table."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.old = sa.Table("telemetry", sa.MetaData(), autoload_with=db)
        self.rows: list[Any] = []
        self.numbers: dict[str, int] = {}

    def all(self) -> None:
        windows = (
            "SELECT s.device, e.epoch, m.seq, s.slot, s.artifact, s.model, s.version, s.throttled, s.probation,"
            " m.start, m.stop, m.received_at, m.ok, m.errors, m.body FROM telemetry_minute m"
            " JOIN telemetry_series s ON s.id = m.series JOIN telemetry_epoch e ON e.id = m.epoch"
        )
        for row in self.db.execute(sa.text(windows)).mappings().all():
            self.window(row, row["epoch"], row["seq"], row["start"], row["stop"])
        for level, finer in ((1, None), (2, 1)):
            for row in self.db.execute(self._uncovered(level, finer)).mappings().all():
                self.window(row, _JOINED, self._number(row["device"]), row["first"], row["last"])
        gauges = (
            "SELECT g.device, e.epoch, g.seq, g.level, g.start, g.received_at, g.body FROM telemetry_gauge g"
            " LEFT JOIN telemetry_epoch e ON e.id = g.epoch"
        )
        for row in self.db.execute(sa.text(gauges)).mappings().all():
            self.gauges(row)
        notes = (
            "SELECT n.device, e.epoch, n.seq, n.kind, n.at, n.received_at, n.body FROM telemetry_note n"
            " JOIN telemetry_epoch e ON e.id = n.epoch"
        )
        for row in self.db.execute(sa.text(notes)).mappings().all():
            said = json.loads(row["body"])
            self.add(row, row["epoch"], row["seq"], row["kind"], row["at"], said, said)
        self.write()

    def _uncovered(self, level: Any, finer: Any) -> Any:
        """Buckets whose windows are not in anything finer."""
        names = ("minute", "bucket", "series")
        minute, bucket, series = (sa.Table(f"telemetry_{n}", sa.MetaData(), autoload_with=self.db) for n in names)
        hour = bucket.alias()
        past = bucket.c.start + {1: 3600_000, 2: 86400_000}[level]
        query = (
            sa.select(
                *series.c["device", "slot", "artifact", "model", "version", "throttled", "probation"],
                *bucket.c["first", "last", "received_at", "ok", "errors", "body"],
            )
            .join_from(bucket, series, series.c.id == bucket.c.series)
            .where(bucket.c.level == level)
        )
        for table, which in ((minute, sa.true()), (hour, hour.c.level == finer)):
            within = (table.c.series == bucket.c.series, table.c.start >= bucket.c.start, table.c.start < past)
            query = query.where(~sa.exists().where(*within, which))
        return query

    def _number(self, device: Any) -> Any:
        self.numbers[device] = self.numbers.get(device, 0) + 1
        return self.numbers[device]

    def window(self, row: Any, epoch: Any, seq: Any, start: Any, stop: Any) -> None:
        latency = {phase: to_data(part) for phase, part in unpack(bytes(row["body"])).items()}
        made = Window(
            start=start / 1000, end=stop / 1000, slot=row["slot"], generation=0, artifact=row["artifact"],
            model=row["model"], version=row["version"], throttled=bool(row["throttled"]),
            probation=bool(row["probation"]), ok=row["ok"], errors=row["errors"], latency_us=latency,
        )  # fmt: skip
        self.add(row, epoch, seq, "window", made.start, made, row)

    def gauges(self, row: Any) -> None:
        sums = gauge_bodies.unpack(row["level"], bytes(row["body"]))
        start = row["start"] / 1000
        length = {0: 60, 1: 3600, 2: 86400}[row["level"]]
        made = Gauges(start=start, end=start + length, values={n: s.total / s.n for n, s in sums.items()})
        joined = row["epoch"] is None
        seq = self._number(row["device"]) if joined else row["seq"]
        self.add(row, _JOINED if joined else row["epoch"], seq, "gauges", start, made, {})

    def add(self, row: Any, epoch: Any, seq: Any, kind: Any, at: Any, body: Any, said: Any) -> None:
        artifact, version = (said.get(n) or said.get(f"{n}_to") or "" for n in ("artifact", "version"))
        self.rows.append({
            "device": row["device"], "epoch": epoch, "seq": seq, "kind": kind, "at": at,
            "slot": said.get("slot") or "", "artifact": artifact, "version": version,
            "received_at": row["received_at"], "body": msgspec.json.encode(body, order="sorted").decode(),
        })  # fmt: skip
        if len(self.rows) >= _ONCE:
            self.write()

    def write(self) -> None:
        if self.rows:
            insert = pg_insert if self.db.dialect.name == "postgresql" else lite_insert
            self.db.execute(insert(self.old).on_conflict_do_nothing(), self.rows)
            self.rows.clear()
