"""What is kept of one device is bounded in every table, whatever it sends: the oldest goes first, and that is told."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract.histogram import HistogramData
from edgelift_contract.report import Report, SlotReport, UpdateReport
from edgelift_contract.telemetry import DeviceEvent, Gauges
from edgelift_fleet import telemetry
from edgelift_fleet.caps import KEPT, TABLES, Cap, Kind
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.devices import LastSeen, get_device
from edgelift_fleet.dropped import dropped
from edgelift_fleet.overview import device_detail
from edgelift_fleet.reported import Known, store_report
from edgelift_fleet.rollout import story
from edgelift_fleet.tables import (
    Base,
    RolloutEventRow,
    RolloutRow,
    TelemetryFleetSeriesRow,
    TelemetryMinuteRow,
    TelemetryPendingRow,
    UpdateHistoryRow,
)
from edgelift_fleet.telemetry.fold import fold
from edgelift_fleet.telemetry.packing import FINEST, pack_part, unpack
from edgelift_fleet.telemetry.series import MAX_UNPUBLISHED_OF_ONE
from edgelift_fleet.telemetry.trimming import trim
from tests.fleet.owned import rows_of
from tests.fleet.telemetry.conftest import batch, make_database, window

pytestmark = pytest.mark.fleet

NOW = time.time() // 3600 * 3600
#: Small, so that a flood is soon one.
SMALL: dict[Kind, Cap] = {
    "updates": Cap(10), "windows": Cap(50, 1 << 20), "sums": Cap(20, 1 << 20), "gauges": Cap(40, 1 << 20),
    "notes": Cap(30, 1 << 20), "outboxes": Cap(5),
}  # fmt: skip


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with closing(make_database(database_url, {"pi-1": "arm64-neon", "pi-2": "arm64-neon"})) as made:
        yield made


def test_every_table_says_what_one_board_can_make_of_it() -> None:
    assert set(Base.metadata.tables) <= set(TABLES), (
        "say in edgelift_fleet/caps.py how much of one board a table keeps"
    )


def test_the_documents_have_each_cap() -> None:
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    for table, cap in TABLES.items():
        if cap != "none":
            assert f"| `{table}` | {cap} |" in text, table


def flood(db: Database, rounds: int, *, outboxes: int = 1) -> None:
    """Windows of many versions and hours, gauges, events; each round a batch."""
    for n in range(rounds):
        items = [
            *(window(NOW - 3600 * (n % 30) - 60 * m, version=str(m % 3 + 1)) for m in range(8)),
            *(Gauges(start=NOW + m, end=NOW + m, values={"cpu_pct": 3.0}) for m in range(8)),
            *(DeviceEvent(at=NOW, kind="odd", message="x" * 50) for _ in range(8)),
        ]
        epoch = f"outbox-{n % outboxes}"
        numbered = {n * 100 + at: item for at, item in enumerate(items)}
        with db.write(ROWS) as session:
            (new,) = telemetry.store_many(session, [batch("pi-1", numbered, epoch)], kept=SMALL)
            assert new == len(items)
            fold(session)


def test_a_flood_is_kept_within_its_caps_and_touches_nobody_else(db: Database) -> None:
    with db.write(ROWS) as session:
        telemetry.store(session, batch("pi-2", {1: window(NOW), 2: DeviceEvent(at=NOW, kind="agent-started")}))
        fold(session)
        before = rows_of(session, ["pi-2"])
    flood(db, 30, outboxes=12)
    with db.write(ROWS) as session:
        trim(session, "pi-1", SMALL)
        rows = rows_of(session, ["pi-1"])
        assert rows_of(session, ["pi-2"]) == before
        gone = dropped(session, "pi-1")
        counted = telemetry.count_windows(session, "pi-1")
    tables = {
        "telemetry_minute": "windows", "telemetry_bucket": "sums", "telemetry_gauge": "gauges",
        "telemetry_note": "notes", "telemetry_epoch": "outboxes",
    }  # fmt: skip
    for table, what in tables.items():
        assert 0 < len(rows[table]) <= SMALL[what].rows, table
        assert gone[what] > 0
    assert len(rows["telemetry_minute"]) + gone["windows"] == counted == 30 * 8


def test_the_oldest_goes_first_also_of_what_is_not_summed_yet(db: Database) -> None:
    with db.write(ROWS) as session:
        for n in range(60):
            telemetry.store_many(session, [batch("pi-1", {n: window(NOW - n)})], received_at=NOW + n, kept=KEPT)
        assert trim(session, "pi-1", {**SMALL, "windows": Cap(10, 1 << 20)}) == {"windows": 51}
        left = session.scalars(sa.select(TelemetryMinuteRow.received_at)).all()
        waits = session.scalar(sa.select(sa.func.count()).select_from(TelemetryPendingRow))
        assert (sorted(left), waits) == ([NOW + n for n in range(51, 60)], 9)
        assert fold(session) == 9


def test_large_bodies_count_by_their_bytes(db: Database) -> None:
    with db.write(ROWS) as session:
        for n in range(20):
            telemetry.store(session, batch("pi-1", {n: DeviceEvent(at=NOW, kind="odd", message="x" * 1000)}))
        assert trim(session, "pi-1", {**SMALL, "notes": Cap(1000, 10_000)})["notes"] >= 10


def test_a_forgotten_outbox_s_number_is_not_given_again(db: Database) -> None:
    for n in range(20):
        with db.write(ROWS) as session:
            telemetry.store_many(session, [batch("pi-1", {1: window(NOW)}, f"outbox-{n}")], kept=SMALL)
    with db.read() as session:
        assert telemetry.count_windows(session, "pi-1") == 20
        rows = rows_of(session, ["pi-1"])
    assert len(rows["telemetry_epoch"]) == 5 and len(rows["telemetry_minute"]) == 20


def test_the_history_of_updates_is_bounded_and_the_newest_stays(db: Database) -> None:
    most = KEPT["updates"].rows
    for n in range(0, most + 60, 20):
        with db.write(ROWS) as session:
            slots = {
                f"s{m}": SlotReport(update=UpdateReport("a" * 64, revision=n + m, outcome="committed"))
                for m in range(20)
            }
            report = Report(schema=1, device="pi-1", epoch="e", sequence=n, at=NOW, agent_version="1", slots=slots)
            known = Known(session, {"pi-1"}, [report])
            store_report(session, known, get_device(session, "pi-1"), report)
            known.finish(session)
    with db.read() as session:
        kept = session.scalars(sa.select(UpdateHistoryRow.revision)).all()
        shown = device_detail(session, LastSeen(), "pi-1")
    assert (len(kept), max(kept)) == (most, most + 59)
    assert shown.dropped == {"updates": 60} and shown.history[0].update.revision == most + 59


def test_one_board_does_not_take_the_others_places_among_unpublished_artifacts(db: Database) -> None:
    with db.write(ROWS) as session:
        for n in range(100):
            telemetry.store(session, batch("pi-1", {n: window(NOW, artifact=f"{n:064}", model=f"m{n}")}))
        telemetry.store(session, batch("pi-2", {1: window(NOW, artifact="b" * 64, model="mine")}))
        names = session.scalars(sa.select(TelemetryFleetSeriesRow.model)).all()
    assert "mine" in names and len(names) == MAX_UNPUBLISHED_OF_ONE + 2


def test_no_resolution_that_is_claimed_makes_bodies_large() -> None:
    data = HistogramData(scale=10, offset=10_000, counts=[1] * 4096, total=1e9, low=1e3, high=2e4)
    part = pack_part(data)
    assert (part.scale, part.count) == (FINEST, 4096) and len(part.counts) <= 4096 // 16 + 1
    assert unpack(b"\x90") == {}


def test_events_of_a_board_that_changes_its_mind_for_ever_are_bounded(db: Database) -> None:
    with db.write(ROWS) as session:
        row = RolloutRow(
            model="digits", version="1", slot="digits", selector="all", plan="{}", policy="{}", state="running", wave=0,
            reason="", created_at=NOW, changed_at=NOW,
        )  # fmt: skip
        session.add(row)
        session.flush()
        story.note(session, row, "started", "digits@1 to all.")
        for n in range(120):
            story.note(session, row, "failed" if n % 2 else "committed", f"pi-1 {n}")
            story._bound(session, row, 50)
        kinds = session.scalars(sa.select(RolloutEventRow.kind).order_by(RolloutEventRow.id)).all()
        texts = session.scalars(sa.select(RolloutEventRow.text).order_by(RolloutEventRow.id)).all()
    assert len(kinds) <= 52 and kinds[0] == "started" and "pi-1 119" in texts and "dropped" in kinds
