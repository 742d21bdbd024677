"""One board's flood is its own delay: queues in turns, groups in one transaction, "not now" that loses nothing."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract import codec
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.replies import BatchReply, ReportReply
from edgelift_contract.report import Report
from edgelift_contract.telemetry import Batch, DeviceEvent, Item
from edgelift_fleet.api.crowding import AT_ONCE, BURST_BYTES, BYTES_AT_ONCE, Crowding
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.inbox import GROUP, QUANTUM, Inbox, Turns
from edgelift_fleet.intake import Intake, Message
from edgelift_fleet.messages import DeviceDetail
from edgelift_fleet.site import create_site
from edgelift_fleet.testing import FACTS, SimulatedDevice
from tests.fleet.conftest import Server
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet


def test_a_flood_waits_for_itself() -> None:
    turns: Turns[str] = Turns()
    for n in range(1000):
        turns.add("flood", f"flood-{n}", 100)
    turns.add("witness", "witness", 100)
    assert "witness" in turns.take()
    assert len(turns) == 1001 - GROUP


def test_large_messages_count_as_what_they_are() -> None:
    turns: Turns[str] = Turns()
    for n in range(10):
        turns.add("flood", f"flood-{n}", 450_000)
        turns.add("witness", f"witness-{n}", 100)
    order = [one for _ in range(20) for one in turns.take()]
    assert order[:11] == [*(f"witness-{n}" for n in range(10)), "flood-0"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 40 * QUANTUM)) | st.integers(1, 5),
        min_size=1,
        max_size=60,
    )
)
def test_every_message_comes_once_and_each_device_s_in_order(steps: list[tuple[str, int] | int]) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    sent: list[tuple[str, int]] = []
    taken: list[tuple[str, int]] = []
    for step in steps:
        if isinstance(step, tuple):
            sent.append((step[0], len(sent)))
            turns.add(step[0], sent[-1], step[1])
        else:
            group = turns.take(step)
            assert len(group) <= step and (group or not len(turns))
            taken += group
    while len(turns):
        taken += turns.take()
    assert sorted(taken) == sorted(sent)
    for device in "abc":
        assert [n for d, n in taken if d == device] == [n for d, n in sent if d == device]


def test_who_sent_is_told_after_the_group_is_written_and_a_fault_ends_nothing() -> None:
    written: list[str] = []
    told: list[object] = []

    def write(group: list[str]) -> list[object]:
        if "fault" in group:
            raise ValueError("a fault")
        written.extend(group)
        return [f"stored {one}" for one in group]

    def hurt(_: object) -> None:
        told.append("hurt")
        raise ValueError("who is told has a fault of its own")

    with Inbox(write) as inbox:
        inbox.put("pi-1", "fault", 1, told.append)
        until(lambda: told)
        inbox.put("pi-1", "one", 1, hurt)
        until(lambda: len(told) == 2)
        inbox.put("pi-1", "two", 1, lambda outcome: told.append((outcome, list(written))))
        until(lambda: len(told) == 3)
    assert isinstance(told[0], ValueError) and told[2] == ("stored two", ["one", "two"])
    with pytest.raises(TransportError, match="stops"):
        inbox.put("pi-1", "late", 1, told.append)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """Of each kind."""
    with contextlib.closing(Database(database_url)) as made:
        made.migrate()
        yield made


@pytest.fixture
def intake(db: Database) -> Intake:
    return Intake(db, LastSeen())


#: What has a database refuse every note, and what lets it take them again.
REFUSING = {
    "sqlite": (
        "CREATE TRIGGER full BEFORE INSERT ON telemetry_note BEGIN SELECT RAISE(ABORT, 'full'); END",
        "DROP TRIGGER full",
    ),
    "postgresql": (
        "ALTER TABLE telemetry_note ADD CONSTRAINT refused CHECK (false)",
        "ALTER TABLE telemetry_note DROP CONSTRAINT refused",
    ),
}


def enrolment(device: str) -> Message:
    return Message("enrol", device, codec.canonical_json(EnrolRequest(schema=1, device=device, facts=FACTS)))


def report(device: str, sequence: int, *, of: str = "", tags: int = 1) -> Message:
    made = Report(
        schema=1, device=of or device, epoch="e", sequence=sequence, at=0, agent_version="x",
        tags={f"tag-{n}": "" for n in range(tags)},
    )  # fmt: skip
    return Message("report", device, codec.canonical_json(made))


def batch(device: str, seq: int, *, text: str = "") -> Message:
    item = Item(seq, event=DeviceEvent(at=1.0, kind="throttled", message=text))
    made = Batch(schema=1, device=device, epoch="e", items=[item])
    return Message("telemetry", device, codec.canonical_json(made))


def test_one_that_is_wrong_costs_the_others_of_its_group_nothing(intake: Intake) -> None:
    outcomes = intake.take([
        enrolment("pi-1"), report("pi-1", 1), Message("report", "pi-1", b"{"), report("pi-1", 2, tags=65),
        report("nobody", 1), batch("pi-1", 1), batch("nobody", 1), report("pi-1", 3, of="pi-2"), report("pi-1", 2),
    ])  # fmt: skip
    codes = [one.code for one in outcomes if isinstance(one, ContractError)]
    assert codes == ["malformed", "malformed", "not-found", "not-found", "wrong-device"]
    enrolled, first, *_, third = outcomes
    assert isinstance(enrolled, EnrolRequest)
    assert isinstance(first, ReportReply) and first.news
    assert isinstance(third, ReportReply) and third.news and third.sequence == 2
    assert isinstance(outcomes[5], BatchReply) and outcomes[5].new == 1
    again = intake.take([report("pi-1", 2), batch("pi-1", 1)])
    assert [getattr(again[0], "news", None), getattr(again[1], "new", None)] == [False, 0]


def test_what_the_database_refuses_is_told_to_its_sender_and_not_kept(intake: Intake, db: Database) -> None:
    intake.take([enrolment("pi-1")])
    refuse, allow = REFUSING[db.engine.dialect.name]
    with db.engine.begin() as connection:
        connection.exec_driver_sql(refuse)
    stored, refused = intake.take([report("pi-1", 1), batch("pi-1", 1)])
    assert isinstance(stored, ReportReply) and stored.news and isinstance(refused, Exception)
    with db.engine.begin() as connection:
        connection.exec_driver_sql(allow)
    again, stored = intake.take([report("pi-1", 1), batch("pi-1", 1)])
    assert isinstance(again, ReportReply) and not again.news
    assert isinstance(stored, BatchReply) and stored.new == 1


def test_what_a_device_may_send_at_once_and_in_the_long_run() -> None:
    crowding = Crowding()
    with contextlib.ExitStack() as stack:
        for _ in range(AT_ONCE):
            stack.enter_context(crowding.admit("flood", 1000))
        with pytest.raises(TransportError) as refused, crowding.admit("flood", 1000):
            pass
        assert refused.value.code == "busy" and refused.value.retry_after_s > 0
        with crowding.admit("witness", 1000):
            pass
    with crowding.carry(BYTES_AT_ONCE), pytest.raises(TransportError), crowding.admit("witness", 1000):
        pass
    with (
        crowding.admit("flood", BURST_BYTES // 2),
        pytest.raises(TransportError),
        crowding.admit("flood", BURST_BYTES),
    ):
        pass
    with crowding.admit("witness", 1000):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site, _ = create_site(tmp_path_factory.mktemp("fair") / "site")
    with Server(site.folder, "--broker", "none") as made:
        yield made


def large_batch(device: str, seq: int) -> bytes:
    items = [Item(seq + n, event=DeviceEvent(at=1.0, kind="throttled", message="x" * 400)) for n in range(900)]
    return codec.canonical_json(Batch(schema=1, device=device, epoch="e", items=items))


def test_a_witness_is_served_before_a_flood_is_through(server: Server) -> None:
    """60 batches of 450 KB at once, on 60 connections; the answers' order tells, not the clock."""
    for name in ("flood", "witness"):
        device = SimulatedDevice(server.url, server.token, name)
        device.epoch = "e"
        device.enrol()
    bodies = [large_batch("flood", n * 1000) for n in range(60)]
    order: list[tuple[str, int]] = []
    begun = threading.Barrier(len(bodies) + 1)

    def call(path: str, method: str, body: bytes, name: str) -> None:
        begun.wait(LONG_S) if name == "flood" else None
        while True:
            status, again_s = request(server, method, path, body)
            if status == 200:
                order.append((name, status))
                return
            assert status == 429 and again_s >= 1  # "not now": and so the agent comes again, and loses nothing
            order.append((name, status))
            time.sleep(0.05)

    threads = [
        threading.Thread(target=call, args=("/v1/devices/flood/telemetry", "POST", body, "flood"))
        for body in bodies
    ]
    for thread in threads:
        thread.start()
    begun.wait(LONG_S)
    call("/v1/devices/witness/report", "PUT", report("witness", 1).data, "witness")
    served = [name for name, status in order if status == 200]
    assert served.count("flood") < 60
    for thread in threads:
        thread.join()
    counts = Client(server.url, server.operator).get("/v1/devices/flood", DeviceDetail)
    assert order.count(("flood", 200)) == 60 and len(counts.events) > 0
    assert ("flood", 429) in order  # more at once than one board may


def request(server: Server, method: str, path: str, body: bytes) -> tuple[int, int]:
    """Status, and the seconds of Retry-After; the connection is this request's own."""
    host, port = server.url.removeprefix("http://").split(":")
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\nConnection: close\r\n"
    answer = b""
    with socket.create_connection((host, int(port)), timeout=LONG_S) as link, contextlib.suppress(ConnectionError):
        try:
            link.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except ConnectionError:
            pass  # refused before it was all sent
        while piece := link.recv(65536):
            answer += piece
    text = answer.decode("latin-1").lower()
    again = text.partition("retry-after: ")[2].partition("\r\n")[0]
    return int(text[9:12] or 0), int(again or 0)


def test_what_was_answered_is_stored_whatever_ends_the_server(tmp_path: Path) -> None:
    """Killed in the middle of a crowd's reports: each device's last answered one, or a later one, is there afterwards."""
    site, _ = create_site(tmp_path / "site")
    server = Server(site.folder, "--broker", "none").start()
    names = [f"pi-{n}" for n in range(8)]
    answered = dict.fromkeys(names, 0)
    for name in names:
        device = SimulatedDevice(server.url, server.token, name)
        device.epoch = "e"
        device.enrol()
    url, token = server.url, server.token

    def report_on(name: str) -> None:
        with requests.Session() as session, contextlib.suppress(requests.RequestException):
            session.trust_env = False
            for sequence in range(1, 100_000):
                path = f"{url}/v1/devices/{name}/report"
                headers = {"Authorization": f"Bearer {token}"}
                body = report(name, sequence).data
                if not session.put(path, data=body, headers=headers, timeout=LONG_S).ok:
                    return
                answered[name] = sequence

    threads = [threading.Thread(target=report_on, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    until(lambda: all(number > 5 for number in answered.values()))
    server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    server.start()
    try:
        for name in names:
            # An older or the same report is no news.
            path = f"{server.url}/v1/devices/{name}/report"
            headers = {"Authorization": f"Bearer {server.token}"}
            body = report(name, answered[name]).data
            assert requests.put(path, data=body, headers=headers, timeout=LONG_S).json()["news"] is False
    finally:
        server.stop()


def test_not_now_is_json_under_the_mark(server: Server) -> None:
    """The agent must know it for the host's own word, and one that passes."""
    from edgelift_agent.link.answers import Answer, failure
    from edgelift_fleet.api.crowding import later
    from edgelift_fleet.api.errors import refusal_of

    made = refusal_of(later("The device 'pi-1' sends more than it may.", 2.5))
    headers = {name.lower(): value for name, value in made.headers.items()} | {"edgelift": "1"}
    error = failure("telemetry", Answer(made.status_code, headers, bytes(made.body)), host="host")
    assert isinstance(error, TransportError) and error.retry_after_s == 3.0
    assert json.loads(made.body)["code"] == "busy"
