"""What a site of before has is there afterwards, counts once, and is there on the way back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.telemetry import DeviceEvent, Gauges, SwapRecord, Window
from edgelift_fleet import telemetry
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.telemetry import gauges
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.retention import Ages, sweep
from tests.fleet.telemetry.conftest import batch, today, window

BEFORE, HERE = "0007", "0008"
DAY = today()
BODIES: dict[int, tuple[str, object]] = {
    1: ("window", window(DAY + 60, [100.0, 900.0])),
    2: ("window", window(DAY + 120, [200.0], throttled=True)),
    3: ("gauges", Gauges(start=DAY + 60, end=DAY + 120, values={"soc_temp_c": 61.5, "odd_name": 3.0})),
    4: ("swap", SwapRecord(at=DAY + 30, slot="digits", generation_from=0, generation_to=1, version_to="1")),
    7: ("event", DeviceEvent(at=DAY + 20, kind="agent-started", message="ö")),
    8: ("window", window(DAY + 180, [300.0], version="2")),
}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    """A database of the release before, with telemetry of one device, one row of it damaged."""
    db = Database(tmp_path / "old.db")
    db.migrate(BEFORE)
    with db.engine.begin() as connection:
        insert(
            connection,
            "device",
            {"id": "pi-1", "hardware_class": "arm64-neon", "facts": "{}", "past_epochs": "[]"},
        )
        for seq, (kind, body) in BODIES.items():
            add(connection, seq, kind, codec.canonical_json(body).decode())
        add(connection, 9, "window", "{damaged")
    yield db
    db.close()


def insert(connection: sa.Connection, table: str, row: dict[str, object]) -> None:
    columns = connection.exec_driver_sql(f"SELECT name FROM pragma_table_info('{table}')").scalars().all()
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    connection.execute(
        sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), dict.fromkeys(columns, 0) | row
    )


def add(connection: sa.Connection, seq: int, kind: str, body: str) -> None:
    said = {"slot": "digits", "artifact": "1" * 64, "version": "1", "at": DAY}
    row = {"device": "pi-1", "epoch": "outbox-1", "seq": seq, "kind": kind, "body": body, "received_at": DAY + 300}
    insert(connection, "telemetry", {**said, **row})


def test_everything_is_taken_over_once(old: Database) -> None:
    old.migrate()  # to the newest tables, which today's store writes
    with old.write(ROWS) as session:
        again = batch("pi-1", {seq: body for seq, (_, body) in BODIES.items()})
        assert telemetry.store(session, again) == 0
        assert telemetry.store(session, batch("pi-1", {9: window(DAY)})) == 0  # it came, and could not be read
        assert telemetry.store(session, batch("pi-1", {5: window(DAY)})) == 1
    for _ in range(2):
        with old.read() as session:
            (first, second) = telemetry.latency_by_version(session, "pi-1")
            assert (first.version, first.windows, first.ok, first.total.high_us) == ("1", 3, 4, 900.0)
            assert (second.version, second.windows, second.ok) == ("2", 1, 1)
            assert telemetry.count_windows(session, "pi-1") == 4
            assert telemetry.events(session, "pi-1") == [BODIES[7][1]]
            assert [swap.version_to for swap in telemetry.swaps(session, "pi-1")] == ["1"]
            assert gauges.newest(session) == {"pi-1": (DAY + 120, {"soc_temp_c": 61.5, "odd_name": 3.0})}
        with old.write(ROWS) as session:
            fold(session)


@pytest.mark.parametrize("forgotten", [False, True])
def test_the_way_back(old: Database, forgotten: bool) -> None:
    old.migrate(HERE)
    if forgotten:  # the minutes are gone, and their hours are what is left
        old.migrate()  # summing and sweeping need today's tables
        with old.write(ROWS) as session:
            fold(session)
            sweep(session, Ages(minutes=1e-9, hours=0, notes=0, days=0), now=DAY + 400)
    old.migrate(BEFORE)
    with old.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT epoch, seq, kind, body FROM telemetry ORDER BY seq").all()
    windows = [
        codec.decode_json(body.encode(), Window, what="window") for _, _, kind, body in rows if kind == "window"
    ]
    assert sum(w.ok for w in windows) == 4 and sorted({w.version for w in windows}) == ["1", "2"]
    if not forgotten:
        assert {(epoch, seq) for epoch, seq, _, _ in rows} == {("outbox-1", seq) for seq in BODIES}
        for _, seq, kind, body in rows:
            assert json.loads(body) | {"generation": 1} == json.loads(codec.canonical_json(BODIES[seq][1])) | {
                "generation": 1
            }, kind
    old.migrate(HERE)
    with old.read() as session:
        assert sum(v.ok for v in telemetry.latency_by_version(session, "pi-1")) == 4
