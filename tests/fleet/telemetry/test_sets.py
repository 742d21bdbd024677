"""What a group of devices delivers takes the same few statements, however many they are, also where all of it is new."""

from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.tables import TelemetryCohortSumRow, TelemetryFleetSeriesRow, TelemetrySeriesRow
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.keeper import FOLD_AT, Keeper
from edgelift_fleet.telemetry.retention import Ages
from edgelift_fleet.telemetry.series import MAX_PER_DEVICE, OTHER
from edgelift_fleet.telemetry.store import store_many
from tests.fleet.direct import counted
from tests.fleet.telemetry.conftest import batch, make_database, today, window

pytestmark = pytest.mark.fleet


def count(folder: Path, devices: int) -> int:
    """Statements in which each of so many devices delivers its first windows, two series each."""
    names = [f"pi-{n}" for n in range(devices)]
    db = make_database(folder / f"{devices}.db", dict.fromkeys(names, "arm64-neon"))
    items = {1: window(today()), 2: window(today() + 60, throttled=True), 3: window(today() + 120)}
    with counted(db) as statements, db.write(ROWS) as session:
        assert store_many(session, [batch(name, items) for name in names]) == [3] * devices
    with db.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(TelemetrySeriesRow)) == 2 * devices
        assert session.scalar(sa.select(sa.func.count()).select_from(TelemetryFleetSeriesRow)) == 2
    db.close()
    return len(statements)


def test_first_windows_of_many_devices_take_the_same_statements(tmp_path: Path) -> None:
    assert count(tmp_path, 2) == count(tmp_path, 60)


def test_a_device_that_claims_endless_versions_in_one_batch_ends_at_its_bound(db: Database) -> None:
    items = {n: window(today() + 60 * n, version=f"1.{n}", artifact="a" * 64) for n in range(MAX_PER_DEVICE + 40)}
    with db.write(ROWS) as session:
        assert store_many(session, [batch("pi-1", items)]) == [len(items)]
    with db.read() as session:
        versions = list(session.scalars(sa.select(TelemetrySeriesRow.version).filter_by(device="pi-1")))
    assert len(versions) == MAX_PER_DEVICE + 1 and versions.count(OTHER) == 1


def test_a_backlog_does_not_wait_its_half_minute(db: Database) -> None:
    """A fleet that was away brings a month in a minute, and every question adds up what waits."""
    keeper = Keeper(db.read, db.write, Ages())
    for first, behind in ((0, False), (FOLD_AT, True)):
        items = {first + n: window(today() + 60 * (n % 1440)) for n in range(FOLD_AT)}
        with db.write(ROWS) as session:
            store_many(session, [batch("pi-1", items)])
        assert keeper.is_behind() == behind
    assert keeper.fold_all() == 2 * FOLD_AT
    assert not keeper.is_behind()


def test_summing_looks_its_rows_up_and_reads_no_whole_table(tmp_path: Path) -> None:
    """Of 5,000 boards a month of hours is millions of rows: read for each sum, they would hold up all that is written."""
    with closing(make_database(tmp_path / "t.db", {"pi-1": "arm64-neon"})) as db:
        asked = AskedCohorts()
        asked.note(frozenset(["pi-1"]), {1: int(today() * 1000)})
        with db.write(ROWS) as session:
            store_many(session, [batch("pi-1", {n: window(today() + 60 * n) for n in range(90)})])
            asked.write(session, today())
            session.execute(
                sa.insert(TelemetryCohortSumRow).values(cohort=1, level=1, start=int(today() * 1000), body=b"\x90")
            )
        done: list[tuple[str, object]] = []
        sa.event.listen(
            db.engine, "before_cursor_execute", lambda _c, _k, text, given, _x, _m: done.append((text, given))
        )
        with db.write(ROWS) as session:
            assert fold(session) == 90
            plans = [
                row[3]
                for text, given in list(done) if text.startswith("SELECT") and isinstance(given, tuple)
                for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)
            ]  # fmt: skip
    read = {plan for plan in plans if plan.startswith("SEARCH telemetry_")}
    assert any("cohort_sum" in plan for plan in read) and any("telemetry_bucket" in plan for plan in read)
    # (The queue is read from its beginning, and cohorts are few.)
    whole = {plan.split()[1] for plan in plans if plan.startswith("SCAN telemetry_")}
    assert whole <= {"telemetry_pending", "telemetry_cohort"}, whole
