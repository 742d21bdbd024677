"""More connections than there are places: silent ones, slow ones, parked ones, and who always gets in."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_fleet.client import Client
from edgelift_fleet.descriptors import RESERVE, places_for
from edgelift_fleet.messages import ServerHealth
from edgelift_fleet.site import create_site
from edgelift_fleet.testing import SimulatedDevice
from edgelift_fleet.web.places import Places
from tests.fleet.conftest import Server
from tests.waiting import LONG_S, until

pytestmark = pytest.mark.fleet

#: Far fewer than the silent connections of the tests, which this process must have open, too.
DESCRIPTORS = 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    site, _ = create_site(tmp_path / "site")
    with Server(site.folder, "--broker", "none", descriptors=DESCRIPTORS) as made:
        yield made


@pytest.fixture
def links() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def connect(server: Server, links: contextlib.ExitStack, send: bytes = b"") -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    link = links.enter_context(socket.create_connection((host, int(port)), timeout=LONG_S))
    with contextlib.suppress(ConnectionError):  # its place may have been taken already
        link.sendall(send)
    return link


def health(server: Server) -> ServerHealth:
    return Client(server.url, server.operator).get("/v1/health", ServerHealth)


def is_over(link: socket.socket) -> bool:
    """Has the server ended this connection?"""
    link.setblocking(False)
    try:
        return link.recv(65536) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def poll(server: Server, device: str, wait_s: int) -> bytes:
    head = f"GET /v1/devices/{device}/desired?wait_s={wait_s} HTTP/1.1\r\nHost: x\r\n"
    return f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode()


def enrol(server: Server, name: str) -> SimulatedDevice:
    device = SimulatedDevice(server.url, server.token, name)
    device.epoch = "e"
    device.enrol()
    return device


def test_hundreds_of_silent_and_slow_connections_keep_nobody_out(
    server: Server, links: contextlib.ExitStack
) -> None:
    device = enrol(server, "witness")
    head = f"PUT /v1/devices/witness/report HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
    slow = connect(server, links, f"{head}Content-Length: 20\r\n\r\n{{".encode())
    silent = [connect(server, links) for _ in range(350)]
    silent += [connect(server, links, b"GET /v1/health HTTP/1.1\r\nX-Slow: ") for _ in range(350)]
    found = health(server)
    assert found.load.descriptors_limit == DESCRIPTORS and found.load.descriptors < DESCRIPTORS
    assert found.load.connections <= found.load.connections_limit == places_for(DESCRIPTORS, 10**9)
    device.report()
    assert health(server).devices == 1
    # And they don't stay: none of them ever showed a token, whatever it sent of a request.
    until(lambda: all(map(is_over, silent)), "the end of every silent connection")
    until(lambda: is_over(slow), "the end of a request whose body doesn't come")


def test_headers_without_an_end(server: Server, links: contextlib.ExitStack) -> None:
    link = connect(server, links, b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 70_000)
    until(lambda: is_over(link), "the end of a request with endless headers")
    assert health(server).load.connections <= 1


def test_parked_polls_give_way_in_turns_and_are_answered(server: Server, links: contextlib.ExitStack) -> None:
    enrol(server, "pi-1")
    places = health(server).load.connections_limit
    parked = []
    for _ in range(places):  # all of one address, whose share is half of them
        parked.append(connect(server, links, poll(server, "pi-1", 60)))
        health(server)  # whoever comes gets in; and is answered after the poll was read
    answers = b""
    for link in parked:
        link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            answers += link.recv(4096)
    # Whoever had to give its place up was told "nothing new" and comes again; nobody was cut off.
    assert answers.count(b"304 Not Modified") == answers.count(b"connection: close") >= places // 2 - 1
    assert health(server).load.parked_polls > 0


def test_a_client_that_goes_leaves_nothing_parked(server: Server, links: contextlib.ExitStack) -> None:
    enrol(server, "pi-1")
    gone = [connect(server, links, poll(server, "pi-1", 60)) for _ in range(20)]
    until(lambda: health(server).load.parked_polls == 20)
    for link in gone:
        link.close()
    until(lambda: health(server).load.parked_polls == 0)


def test_a_stop_waits_for_no_silent_connection(server: Server, links: contextlib.ExitStack) -> None:
    for _ in range(20):
        connect(server, links)
    enrol(server, "pi-1")
    parked = connect(server, links, poll(server, "pi-1", 60))
    until(lambda: health(server).load.parked_polls == 1)
    assert server.stop() == 0
    assert parked.recv(4096).startswith(b"HTTP/1.1 304")


def test_places_for_any_number_of_descriptors() -> None:
    for descriptors in (64, 256, 1024, 20_000, 1 << 20):
        places = places_for(descriptors, 16_384)
        assert 0 < places < descriptors and (descriptors < 1024 or descriptors - places >= RESERVE)


def test_who_never_showed_a_token_goes_first_then_who_waits() -> None:
    places: Places[str] = Places(4, 4)
    for name in ("idle", "parked", "busy", "silent"):
        assert places.come(name, "10.0.0.1", 0.0) == (True, None)
        if name != "silent":
            places.does(name, "busy")
    places.does("parked", "parked")
    places.does("idle", "idle")
    order = [places.come(f"late-{n}", "10.0.0.2", 10.0)[1] for n in range(3)]
    assert order == ["silent", "idle", "parked"]
    # Who came just now is about to ask; but better one of them than nobody, and after a moment it is silent, too.
    assert places.come("late-3", "10.0.0.2", 10.0) == (True, "late-0")
    for name in ("late-1", "late-2", "late-3"):
        places.does(name, "busy")
    assert places.come("late-4", "10.0.0.2", 20.0) == (False, None)  # all are about to be answered


def test_an_address_makes_room_among_its_own() -> None:
    places: Places[str] = Places(100, 3)
    places.come("other", "10.0.0.2", 0.0)
    for n in range(10):
        has_place, goes = places.come(f"mine-{n}", "10.0.0.1", float(n))
        assert has_place and goes == (f"mine-{n - 3}" if n >= 3 else None)
    assert places.what("other") == "new" and len(places) == 4


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["come", "leave", "new", "idle", "parked", "busy"])),
        max_size=80,
    )
)
def test_places_never_hold_more_than_they_have(steps: list[tuple[int, str]]) -> None:
    places: Places[int] = Places(4, 2)
    here: set[int] = set()
    for number, (who, what) in enumerate(steps):
        if what == "come" and who not in here:
            has_place, goes = places.come(who, str(who % 3), 0.3 * number)
            here -= {goes}
            if has_place:
                here.add(who)
        elif what == "leave":
            places.leave(who)
            here.discard(who)
        elif what != "come":
            places.does(who, what)  # type: ignore[arg-type]  # hypothesis draws from its words
        assert len(places) == len(here) <= 4
        assert sum(len(places.those(doing)) for doing in ("new", "idle", "parked", "busy")) == len(here)
        assert all(places.what(one) is not None for one in here)
        assert all(sum(1 for one in here if one % 3 == address) <= 2 for address in range(3))
