"""A bundle where several servers stand behind one address: asked for at one, heard of at another, brought to that one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract import codec
from edgelift_fleet.client import Client
from edgelift_fleet.messages import BundleView
from tests.fleet.conftest import Server
from tests.fleet.test_bundles import Board, ask, show
from tests.fleet.test_lead import leads, replica
from tests.fleet.test_sharing import broker as broker
from tests.fleet.test_sharing import health
from tests.fleet.test_simulate import living
from tests.waiting import until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


@pytest.fixture
def two(site: Path, broker: int) -> Iterator[tuple[Server, Server]]:
    """The one that leads, and another one."""
    options = ("--broker", f"mqtt://127.0.0.1:{broker}")
    servers = [Server(folder, *options).start() for folder in (site, replica(site, "two"))]
    try:
        until(lambda: leads(servers[0]) and health(servers[0]).broker == "connected")
        yield servers[0], servers[1]
    finally:
        for server in servers:
            assert server.stop() == 0


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_asked_at_one_server_and_brought_to_another(two: tuple[Server, Server]) -> None:
    first, second = two
    here, there = (Client(server.url, server.operator) for server in two)
    board = Board(second)
    wanted = ask(here)
    assert ask(there).id == wanted.id  # one is open at a time, whoever is asked
    assert board.poll(60.0) == wanted.id  # its poll waits at the other one
    assert board.bring(wanted.id) == (200, "")
    assert show(here, wanted).state == "brought"
    data = here.data(f"/v1/devices/pi-1/bundles/{wanted.id}/file")
    assert codec.digest(data) == show(there, wanted).sha256
    again = ask(there)
    there.delete(f"/v1/devices/pi-1/bundles/{again.id}", BundleView)
    until(lambda: Board(first).poll() == "", "the wish taken back, at the other one too")

    # Whoever is at the broker is told by the one that leads, wherever the wish was made.
    with living(second, 3):
        until(lambda: len(there.get("/v1/devices", list)) == 4)
        names = [one["device"] for one in there.get("/v1/devices", list) if one["device"] != "pi-1"]
        asked = [ask(there, name) for name in names]
        until(lambda: {show(here, one).state for one in asked} == {"brought"}, "all brought")
