"""A client that connects in the very moment of a stop: what was accepted is closed, however far it had come."""

import threading

import pytest
from tests.simulators.server import Site
from tests.waiting import LONG_S


@pytest.mark.parametrize("rounds", range(1, 6))
def test_what_was_accepted_is_closed(rounds: int) -> None:
    site = Site()
    web = site.server._web
    loop, stop = web._loop, web._stop
    assert loop is not None
    assert stop is not None
    held, connected = threading.Event(), threading.Event()

    def after(left: int) -> None:
        if left:
            loop.call_soon(after, left - 1)
        else:
            stop.set_result(LONG_S)

    def hold() -> None:
        held.set()
        connected.wait()
        loop.call_soon(after, rounds)  # the connection is taken in the next round

    try:
        loop.call_soon_threadsafe(hold)
        held.wait()
        with site.connect():
            connected.set()
            web._thread.join()
            assert not site.server._site.connections
    finally:
        connected.set()
        for sock in site.server._site.sockets:
            sock.close()
        site.inference.close()
