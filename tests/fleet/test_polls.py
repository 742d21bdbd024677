"""Polls: answered from memory, parked by the hundred, told of what this process and others write."""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from edgelift_contract.errors import ContractError
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.doors import listen
from edgelift_fleet.parked import Parked
from edgelift_fleet.revisions import UNASSIGNED, Revisions
from edgelift_fleet.tables import AssignmentRow, DeviceRow
from edgelift_fleet.testing import FACTS, FleetSimulator, simulated_fleet
from tests.fleet.conftest import Server
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """Of each kind."""
    with contextlib.closing(Database(database_url)) as made:
        made.migrate()
        yield made


def write(db: Database, device: str, revision: int, *, issued_at: float | None = None) -> None:
    """As another process would: nothing is announced."""
    with db.write(SITE) as session:
        if session.get(DeviceRow, device) is None:
            session.add(DeviceRow(id=device, enrolled_at=0.0, facts="{}"))
            session.flush()
        at = time.time() if issued_at is None else issued_at
        body = json.dumps({"device": device, "revision": revision})
        session.merge(AssignmentRow(device=device, revision=revision, issued_at=at, body=body))


def revision_of(revisions: Revisions, device: str) -> int:
    found = revisions.held(device)
    return -1 if found is None else found.revision


def test_what_is_held_is_what_was_written_last(db: Database) -> None:
    write(db, "pi-1", 1)
    with Revisions(db) as revisions:
        assert revision_of(revisions, "pi-1") == 1
        write(db, "pi-1", 2)
        revisions.announce("pi-1")
        # From here on nobody is answered with the first one, whether it was read anew already or not.
        assert revision_of(revisions, "pi-1") in (-1, 2) and revisions.ask("pi-1").revision == 2
        until(lambda: revision_of(revisions, "pi-1") == 2)


def test_what_another_process_assigns_is_found_and_told(db: Database) -> None:
    write(db, "pi-1", 1)
    told: dict[str, int] = {}
    with Revisions(db) as revisions:
        revisions.subscribe(lambda news: told.update({device: one.revision for device, one in news.items()}))
        write(db, "pi-1", 2)
        write(db, "pi-2", 1)  # a device that enrolled with the other process
        # Stamped before the newest one and committed after it, as a long transaction's are.
        write(db, "pi-3", 1, issued_at=time.time() - 10)
        until(lambda: told == {"pi-1": 2, "pi-2": 1, "pi-3": 1}, "all three")
        assert [revision_of(revisions, f"pi-{n}") for n in (1, 2, 3)] == [2, 1, 1]


def test_while_nothing_is_assigned_no_assignment_is_read(db: Database) -> None:
    """After a rollout to thousands every look would else read each of them, until the next assignment."""
    for number in range(3):
        write(db, f"pi-{number}", 1)
    with Revisions(db):
        asked = count_statements(db)
        until(lambda: len([one for one in asked if "FROM assignment" in one]) >= 4, "four looks")
    assert len([one for one in asked if "FROM assignment" in one and "count(*)" not in one]) <= 1


def test_many_changes_are_read_together(db: Database) -> None:
    devices = [f"pi-{n}" for n in range(1200)]
    rows = [{"id": device, "enrolled_at": 0.0, "facts": "{}"} for device in devices]
    told: set[str] = set()
    with Revisions(db) as revisions:
        revisions.subscribe(lambda news: told.update(news))
        with db.write(SITE) as session:
            session.execute(DeviceRow.__table__.insert(), rows)
            session.execute(
                AssignmentRow.__table__.insert(),
                [{"device": device, "revision": 1, "issued_at": 1.0, "body": "{}"} for device in devices],
            )
        asked = count_statements(db)
        for device in devices:
            revisions.announce(device)
        until(lambda: len(told) == len(devices), "every device")
        assert len([one for one in asked if "assignment.device IN" in one]) < 100  # and not one for each


def count_statements(db: Database) -> list[str]:
    from sqlalchemy import event

    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: asked.append(text))
    return asked


def test_never_assigned_and_never_enrolled_are_different(db: Database) -> None:
    with Revisions(db) as revisions:
        with pytest.raises(ContractError) as refused:
            revisions.ask("pi-1")
        assert refused.value.code == "not-found" and revisions.held("pi-1") is None
        with db.write(SITE) as session:
            session.add(DeviceRow(id="pi-1", enrolled_at=0.0, facts="{}"))
        assert revisions.ask("pi-1") == UNASSIGNED and revisions.held("pi-1") == UNASSIGNED


def test_a_fault_of_the_database_loses_no_announcement(db: Database) -> None:
    write(db, "pi-1", 1)
    with Revisions(db) as revisions:
        with db.write(SITE) as session:
            session.connection().exec_driver_sql("ALTER TABLE assignment RENAME TO hidden")
        revisions.announce("pi-1")
        with db.write(SITE) as session:
            session.connection().exec_driver_sql("UPDATE hidden SET revision = 2")
            session.connection().exec_driver_sql("ALTER TABLE hidden RENAME TO assignment")
        until(lambda: revision_of(revisions, "pi-1") == 2)


def test_a_server_s_connections_send_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        taken, _ = listener.accept()
        with taken, client:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_nobody_waits_for_ever_once_the_server_stops() -> None:
    import asyncio

    async def poll() -> str:
        parked = Parked()
        with parked.listening("pi-1") as ear:
            threading.Thread(target=parked.close).start()
            await asyncio.wait_for(ear.wait(LONG_S * 10), LONG_S)
        assert len(parked) == 0
        return "let go"

    assert asyncio.run(poll()) == "let go"


@pytest.fixture
def busy(site: Path) -> Iterator[tuple[Server, FleetSimulator]]:
    server = Server(site, "--broker", "none").start()
    try:
        with simulated_fleet(site) as fleet:
            yield server, fleet
    finally:
        server.stop()


def test_hundreds_wait_and_the_right_ones_are_told(busy: tuple[Server, FleetSimulator]) -> None:
    server, _ = busy
    host, port = server.url.removeprefix("http://").split(":")
    links: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as stack, requests.Session() as session:
        session.trust_env = False
        for n in range(300):
            name = f"pi-{n}"
            body = json.dumps({"schema": 1, "device": name, "facts": {"hardware_class": FACTS.hardware_class,
                               "accepts": FACTS.accepts, "runtimes": FACTS.runtimes}})  # fmt: skip
            bearer = {"Authorization": f"Bearer {server.token}"}
            assert session.post(f"{server.url}/v1/enroll", data=body, headers=bearer, timeout=LONG_S).ok
            links[name] = stack.enter_context(socket.create_connection((host, int(port)), timeout=LONG_S))
            poll = f"GET /v1/devices/{name}/desired?wait_s=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}"
            links[name].sendall(f"{poll}\r\n\r\n".encode())
        operator = {"Authorization": f"Bearer {server.operator}"}
        for name in ("pi-7", "pi-201"):
            url = f"{server.url}/v1/devices/{name}/assign"
            assert session.post(url, data='{"release":"digits@1"}', headers=operator, timeout=LONG_S).ok
        for name in ("pi-7", "pi-201"):
            answer = b""
            while not answer.endswith(b"}"):
                answer += links[name].recv(65536)
            assert answer.startswith(b"HTTP/1.1 200") and f'"device":"{name}"'.encode() in answer
        others = [link for name, link in links.items() if name not in ("pi-7", "pi-201")]
        answered, _, _ = select.select(others, [], [], 0)
        assert all(link.recv(9999).startswith(b"HTTP/1.1 304") for link in answered)  # those whose minute was over


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", "1e400x"])
def test_a_wait_that_is_none(busy: tuple[Server, FleetSimulator], wait: str) -> None:
    server, fleet = busy
    fleet.add("pi-1")
    url = f"{server.url}/v1/devices/pi-1/desired?wait_s={wait}"
    answer = requests.get(url, headers={"Authorization": f"Bearer {server.token}"}, timeout=LONG_S)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed") and answer.headers["Edgelift"] == "1"


def test_another_method_and_another_path(busy: tuple[Server, FleetSimulator]) -> None:
    server, _ = busy
    bearer = {"Authorization": f"Bearer {server.token}"}
    wrong = requests.delete(f"{server.url}/v1/devices/pi-1/desired", headers=bearer, timeout=LONG_S)
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["Allow"]) == (405, "wrong-method", "GET, HEAD")
    for path in ("/v1/devices/a/b/desired", "/v1/devices//desired", "/v1/blobs", "/v1/enroll/more"):
        nothing = requests.get(server.url + path, headers=bearer, timeout=LONG_S)
        assert (nothing.status_code, nothing.json()["code"]) == (404, "not-found"), path
        assert nothing.headers["Edgelift"] == "1"
