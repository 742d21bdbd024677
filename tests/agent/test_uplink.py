"""What is sent, and when again: a confirmation that the disk refuses is a failed try."""

import json
import queue
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.waiting import LONG_S

from edgelift_agent.link.uplink import Uplink
from edgelift_agent.ports import NotReachedYet
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.pacing import MOST_REST_S, REST_TIMES, rest_s
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


@pytest.mark.parametrize(("error", "level"), [(NotReachedYet, "INFO"), (TransportError, "WARNING")])
def test_that_the_host_was_not_reached_yet_is_no_warning(
    database: Database, caplog: pytest.LogCaptureFixture, error: type[TransportError], level: str
) -> None:
    class Away(AnyHost):
        def send_report(self, body: bytes) -> None:
            raise error("unreachable", "Nobody is there.")

    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(StandingClock()))
    uplink = Uplink(Away(), waiting, StandingClock(), device="pi-1", make_report=lambda: b"{}", post=posted.put)
    with caplog.at_level("INFO"):
        uplink.push()
        posted.get(timeout=LONG_S)()
    assert [one.levelname for one in caplog.records if one.message.startswith("uplink code=unreachable")] == [
        level
    ]
    uplink.flush()


class PickyHost(AnyHost):
    """Can't read events of one kind, and says so of the whole batch, as the control plane does."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code
        self.tries = 0
        self.kinds: list[str] = []

    def send_batch(self, body: bytes) -> None:
        self.tries += 1
        kinds = [item["event"]["kind"] for item in json.loads(body)["items"]]
        if "new-thing" in kinds:
            raise ContractError(self.code, "The telemetry batch is not valid: at items.")
        self.kinds += kinds


def send_all(host: PickyHost, waiting: TelemetryQueue, pauses: int) -> None:
    """Push until nothing waits, or so many pauses were made."""
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    clock = StandingClock()
    uplink = Uplink(
        host, waiting, clock, device="pi-1", make_report=lambda: b"{}", post=posted.put,
        retry_delays=lambda: iter([7.0] * 100),
    )  # fmt: skip
    uplink.report_wanted = False
    uplink.push()
    while waiting.waiting() and pauses:
        posted.get(timeout=LONG_S)()
        if uplink.due_in_s() == 7.0:  # a pause
            pauses -= 1
            clock.at += 7.0
            if pauses:
                uplink.push()
    uplink.flush()


@pytest.mark.parametrize("bad", [{0}, {99}, {37}, {5, 6, 60}])
@pytest.mark.parametrize("code", ["malformed", "too-large"])
def test_an_item_that_the_host_cannot_read_holds_nothing_up(database: Database, bad: set[int], code: str) -> None:
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(StandingClock()))
    kinds = ["new-thing" if n in bad else f"event-{n}" for n in range(100)]
    waiting.add([DeviceEvent(at=1.0, kind=kind) for kind in kinds])
    host = PickyHost(code)
    send_all(host, waiting, pauses=1000)
    good = [kind for kind in kinds if kind != "new-thing"]
    assert [kind for kind in host.kinds if kind != "telemetry-refused"] == good  # each once, in order
    assert host.kinds.count("telemetry-refused") == len(bad)  # and the host learns of it
    assert host.tries < 20 * len(bad)


def test_what_is_refused_for_another_reason_is_kept(database: Database) -> None:
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(StandingClock()))
    waiting.add([DeviceEvent(at=1.0, kind="new-thing"), DeviceEvent(at=2.0, kind="throttled")])
    host = PickyHost("unknown-schema")  # a host that will be newer one day
    send_all(host, waiting, pauses=20)
    assert waiting.waiting() == 2 and host.tries == 20


class SlowHost(AnyHost):
    """Takes `takes_s` for every batch."""

    def __init__(self, clock: StandingClock, takes_s: float) -> None:
        super().__init__()
        self._clock, self.takes_s = clock, takes_s

    def send_batch(self, body: bytes) -> None:
        super().send_batch(body)
        self._clock.at += self.takes_s


def items_of(batch: bytes) -> int:
    return len(json.loads(batch)["items"])


def test_telemetry_rests_after_a_slow_answer_and_what_comes_meanwhile_goes_with_the_next(
    database: Database,
) -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    clock = StandingClock()
    host = SlowHost(clock, 2.0)
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(clock))
    uplink = Uplink(host, waiting, clock, device="pi-1", make_report=lambda: b"{}", post=posted.put)
    uplink.report_wanted = False

    def measure() -> None:
        waiting.add([DeviceEvent(at=1.0, kind="throttled")])
        uplink.want_batch()

    measure()
    posted.get(timeout=LONG_S)()
    for _ in range(3):
        measure()
    assert len(host.batches) == 1 and posted.empty() and uplink.due_in_s() == REST_TIMES * 2.0
    uplink.want_report()  # does not rest
    clock.at += 0.1
    assert uplink.due_in_s() == 0.0
    uplink.push()
    posted.get(timeout=LONG_S)()
    assert host.reports == [b"{}"] and len(host.batches) == 1
    clock.at += REST_TIMES * 2.0
    uplink.push()
    posted.get(timeout=LONG_S)()
    assert [items_of(batch) for batch in host.batches] == [1, 3] and uplink.idle
    measure()
    uplink.connected()  # another link, another host perhaps: nothing is known of how fast it is
    posted.get(timeout=LONG_S)()
    posted.get(timeout=LONG_S)()
    assert len(host.batches) == 3
    uplink.flush()


def test_what_waits_from_before_does_not_rest(database: Database) -> None:
    posted: queue.Queue[Callable[[], None]] = queue.Queue()
    clock = StandingClock()
    host = SlowHost(clock, 2.0)
    waiting = TelemetryQueue(database, Disk(), lambda: "e", Degraded(clock))
    waiting.add([DeviceEvent(at=1.0, kind="throttled", message="x" * 200) for _ in range(5000)])
    uplink = Uplink(host, waiting, clock, device="pi-1", make_report=lambda: b"{}", post=posted.put)
    uplink.report_wanted = False
    uplink.push()
    while not uplink.idle:
        posted.get(timeout=LONG_S)()
    assert len(host.batches) > 2 and sum(map(items_of, host.batches)) == 5000
    assert clock.at == 100.0 + 2.0 * len(host.batches)  # one after the other
    uplink.flush()


@pytest.mark.parametrize(
    ("took_s", "rests_s"), [(0.0, 0.0), (0.01, 0.04), (2.0, 8.0), (60.0, MOST_REST_S), (-1.0, 0.0)]
)
def test_how_long_it_rests(took_s: float, rests_s: float) -> None:
    assert rest_s(took_s) == pytest.approx(rests_s)
