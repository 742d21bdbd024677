"""The state database in the worst case: damaged, of a newer agent, with one record that can't be read.

Real processes, the host away: whatever happens to the file, what is committed serves.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.reports import is_committed
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.records import SlotRow
from edgelift_agent.update.state_db import FORM
from edgelift_contract.assignment import Policy

QUICK = Policy(probation_s=0.2)


def committed(host: ToyHost, device: Device, version: str) -> None:
    host.assign(device.name, toy=host.publish(version, ToyModelFile(scale=float(version)), policy=QUICK))
    if device.process is None or device.process.poll() is not None:
        device.start()
    host.wait_for(device.name, lambda r: is_committed(r, version))


def change(device: Device, *statements: tuple[str, tuple[object, ...]]) -> None:
    connection = sqlite3.connect(device.state / "state.db", isolation_level=None)
    for statement, values in statements:
        connection.execute(statement, values)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def overwrite(device: Device) -> None:
    (device.state / "state.db").write_bytes(b"no database, but long enough to be taken for one at first" * 100)


def tear(device: Device) -> None:
    data = (device.state / "state.db").read_bytes()
    (device.state / "state.db").write_bytes(data[: len(data) // 2 + 100])


def remove(device: Device) -> None:
    (device.state / "state.db").unlink()


def truncate(device: Device) -> None:
    (device.state / "state.db").write_bytes(b"")
    (device.state / "state.db-wal").unlink(missing_ok=True)


def zero(device: Device) -> None:
    (device.state / "state.db").write_bytes(bytes(8192))


@pytest.mark.parametrize("damage", [overwrite, tear, remove, truncate, zero])
def test_a_damaged_database_costs_no_served_model(
    host: ToyHost, device: Device, damage: Callable[[Device], None]
) -> None:
    committed(host, device, "1")
    committed(host, device, "2")
    device.stop()
    damage(device)
    host.faults.down = True
    device.start()
    assert device.answer() == 2.0
    host.faults.down = False
    committed(host, device, "3")
    assert device.answer() == 3.0
    assert device.stop() == 0
    device.start()
    assert device.answer() == 3.0


def test_a_second_file_of_nothing_but_brackets_ends_nothing(host: ToyHost, device: Device) -> None:
    committed(host, device, "1")
    device.stop()
    (device.state / "committed.json").write_text('{"schema": 1, "x": ' + "[" * 100_000)
    (device.state / "state.db").unlink()
    device.start()
    until(lambda: device.answer() == 1.0, "the model that the host says")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("update", b'{"desired": 7}'),
        ("update", b"\xff\xfe"),
        ("slot", b'{"artifact": 7}'),
        ("slot", b""),
        ("meta", b"[]"),
        ("meta", b'{"assignment": "!"}'),
        ("something-new", b"{}"),
    ],
)
def test_a_record_that_cannot_be_read_costs_that_record(
    host: ToyHost, device: Device, kind: str, body: bytes
) -> None:
    committed(host, device, "1")
    device.stop()
    key = "" if kind == "meta" else "toy"
    change(device, ("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (kind, key, body)))
    host.faults.down = True
    device.start()
    assert device.answer() == 1.0
    host.faults.down = False
    committed(host, device, "2")
    assert device.answer() == 2.0


def test_a_state_that_only_a_newer_agent_knows_forgets_that_update(host: ToyHost, device: Device) -> None:
    committed(host, device, "1")
    device.stop()
    connection = sqlite3.connect(device.state / "state.db")
    body = json.loads(connection.execute("SELECT body FROM records WHERE kind = 'update'").fetchone()[0])
    connection.close()
    body["state"] = "thinking-it-over"
    change(device, ("UPDATE records SET body = ? WHERE kind = 'update'", (json.dumps(body).encode(),)))
    host.faults.down = True
    device.start()
    assert device.answer() == 1.0
    host.faults.down = False
    committed(host, device, "2")


def test_a_database_of_a_newer_agent_is_left_alone_and_serves(host: ToyHost, device: Device) -> None:
    committed(host, device, "1")
    device.stop()
    change(device, (f"PRAGMA user_version={FORM + 1}", ()))
    before = (device.state / "state.db").read_bytes()
    device.start()
    assert device.answer() == 1.0
    report = host.wait_for(device.name, lambda r: r.degraded)
    assert {fault.code for fault in report.degraded} == {"newer-state"}
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=QUICK))
    until(lambda: "assignment waits for the journal" in device.log.read_text(), "the assignment to arrive")
    assert device.answer() == 1.0
    assert device.stop() == 0
    assert (device.state / "state.db").read_bytes() == before
    # The way back that the docs name: the newer agent again (here: its mark taken off).
    change(device, (f"PRAGMA user_version={FORM}", ()))
    device.start()
    host.wait_for(device.name, lambda r: r.slots["toy"].version == "2" and not r.degraded)


def test_an_older_database_is_migrated_only_when_the_agent_has_shown_that_it_works(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    degraded = Degraded(SystemClock())
    journal = Journal(path, Disk(), degraded)
    with journal.transaction():
        journal.save_slot("toy", SlotRow(artifact="a" * 64))
    journal.connection.execute("PRAGMA user_version=0")
    journal.close()
    journal = Journal(path, Disk(), degraded)
    assert journal.slots["toy"].artifact == "a" * 64
    assert journal.connection.execute("PRAGMA user_version").fetchone() == (0,)
    journal.migrate()
    assert journal.connection.execute("PRAGMA user_version").fetchone() == (FORM,)
    journal.close()
    assert degraded.reasons() == []


@pytest.mark.parametrize("offset_s", [-1_795_000_000.0, 2_400_000_000.0, -1_790_000_000.0])
def test_a_clock_that_cannot_be_right_is_said_and_stops_nothing(
    host: ToyHost, device: Device, offset_s: float
) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile(), policy=QUICK))
    device.start("--clock-offset-s", str(offset_s))
    report = host.wait_for(
        device.name, lambda r: "toy" in r.slots and r.slots["toy"].version == "1" and r.degraded
    )
    assert [fault.code for fault in report.degraded] == ["clock-wrong"]
    committed(host, device, "2")
    assert device.answer() == 2.0
