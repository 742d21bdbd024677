"""What is sent, and when again: a confirmation that the disk refuses is a failed try."""

import queue
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.waiting import LONG_S

from edgelift_agent.link.uplink import Uplink
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_contract.telemetry import DeviceEvent


class StandingClock:
    """Time that only the test moves."""

    at = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class AnyHost:
    """Takes everything and remembers it."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.reports: list[bytes] = []

    def send_report(self, body: bytes) -> None:
        self.reports.append(body)

    def send_batch(self, body: bytes) -> None:
        self.batches.append(body)


class Database:
    """A real one on disk; SQLite itself refuses to write while `query_only` is on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)")

    def refuse(self, on: bool) -> None:
        self.connection.execute(f"PRAGMA query_only = {int(on)}")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "state.db")
    yield made
    made.connection.close()


def test_a_confirmation_that_cannot_be_written_is_waited_out(database: Database) -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    clock, host = StandingClock(), AnyHost()
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(clock))
    waiting.add([DeviceEvent(at=1.0, kind="throttled")])
    database.refuse(True)
    uplink = Uplink(
        host, waiting, clock, device="pi-1", make_report=lambda: b"{}", post=posted.put,
        retry_delays=lambda: iter([7.0, 9.0]),
    )  # fmt: skip
    uplink.report_wanted = False
    uplink.push()
    posted.get(timeout=LONG_S)()  # the batch was taken, its confirmation wasn't
    assert len(host.batches) == 1
    for _ in range(20):
        waiting.add([DeviceEvent(at=2.0, kind="throttled")])
        uplink.want_batch()
    assert len(host.batches) == 1 and posted.empty() and uplink.due_in_s() == 7.0
    database.refuse(False)
    clock.at += 7.0
    uplink.push()
    posted.get(timeout=LONG_S)()
    assert len(host.batches) == 2
    uplink.flush()


def test_a_report_that_cannot_be_made_now_is_still_wanted(database: Database) -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    clock, host = StandingClock(), AnyHost()
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(clock))
    short = [MemoryError("no room for a report")]

    def make_report() -> bytes:
        if short:
            raise short.pop()
        return b"{}"

    uplink = Uplink(host, waiting, clock, device="pi-1", make_report=make_report, post=posted.put)
    with pytest.raises(MemoryError):
        uplink.push()
    assert uplink.report_wanted and uplink.due_in_s() is not None
    uplink.push()
    posted.get(timeout=LONG_S)()
    assert host.reports == [b"{}"]
    uplink.flush()
