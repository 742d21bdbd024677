"""Reports of many devices, written together, take the same few statements however many they are and however far behind."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.report import Report, SlotReport, UpdateReport
from edgelift_fleet.assignments import set_slots
from edgelift_fleet.db import SITE, Database, among
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.intake import Intake, Message
from edgelift_fleet.tables import AssignmentRow, DeviceRow, UpdateHistoryRow
from tests.fleet.direct import counted
from tests.fleet.telemetry.conftest import make_database

pytestmark = pytest.mark.fleet


def report(device: str, sequence: int, revision: int) -> Message:
    """Of an update that was asked for by this revision."""
    update = UpdateReport(
        artifact="a" * 64, model="digits", version="1", revision=revision, outcome="committed", phase="idle"
    )
    slot = SlotReport("serving", sequence, "a" * 64, "digits", "1", 1.0, update)
    made = Report(
        schema=1, device=device, epoch="e", sequence=sequence, at=1.0, agent_version="1", slots={"digits": slot}
    )
    return Message("report", device, codec.canonical_json(made))


def count(folder: Path, devices: int) -> int:
    names = [f"pi-{n}" for n in range(devices)]
    db = make_database(folder / f"{devices}.db", dict.fromkeys(names, "arm64-neon"))
    with db.write(SITE) as session:
        wanted = [{"device": name, "revision": 9, "issued_at": 1.0, "body": "{}"} for name in names]
        session.execute(sa.insert(AssignmentRow), wanted)
    intake = Intake(db, LastSeen())
    assert all(one.news for one in intake.take([report(name, 1, 3) for name in names]))
    with counted(db) as statements:
        # Each an update of long ago, one that was told of before and one that wasn't.
        taken = intake.take([report(name, 2, 3 if n % 2 else 4) for n, name in enumerate(names)])
    assert all(one.news for one in taken)
    with db.read() as session:
        revisions = list(session.scalars(sa.select(UpdateHistoryRow.revision)))
    assert (revisions.count(3), revisions.count(4)) == (devices, devices // 2)  # none is doubled
    db.close()
    return len(statements)


def test_reports_on_updates_of_long_ago_take_the_same_statements(tmp_path: Path) -> None:
    assert count(tmp_path, 4) == count(tmp_path, 60)


def test_more_devices_are_assigned_at_once_than_a_statement_may_have_parameters(database_url: str) -> None:
    db = Database(database_url)
    db.migrate()
    names = [f"pi-{n}" for n in range(70_000)]
    with db.write(SITE) as session:
        session.execute(sa.insert(DeviceRow), [{"id": names[-1], "enrolled_at": 0.0, "facts": "{}"}])
        wanted = SlotAssignment("a" * 64, 100, "digits", "1")
        assert set_slots(session, "digits", dict.fromkeys(names, wanted)) == {names[-1]: 1}
    db.close()


def test_more_values_than_a_statement_may_have_parameters(database_url: str) -> None:
    db = Database(database_url)
    db.migrate()
    names = [f"pi-{n}" for n in range(70_000)]
    with db.write(SITE) as session:
        rows = [{"id": name, "enrolled_at": 0.0, "facts": "{}"} for name in names[::10_000]]
        session.execute(sa.insert(DeviceRow), rows)
    with db.read() as session:
        query = sa.select(DeviceRow.id).where(among(session, DeviceRow.id, names))
        assert sorted(session.scalars(query)) == sorted(names[::10_000])
        assert list(session.scalars(sa.select(DeviceRow.id).where(among(session, DeviceRow.id, [])))) == []
    db.close()
