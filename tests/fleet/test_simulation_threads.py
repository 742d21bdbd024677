"""A simulation is looked at from another thread from its first moment on, and ends when told to, whatever its links do."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgelift_fleet.simulate.ending import ended
from edgelift_fleet.simulate.engine import Simulation
from edgelift_fleet.simulate.http import Address
from tests.fleet.test_simulate import QUICK
from tests.simulators.device import free_port

pytestmark = pytest.mark.fleet


@contextmanager
def in_short_turns() -> Iterator[None]:
    """Threads of Python's take turns so often that what can happen between two steps does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_it_is_looked_at_while_it_begins_and_ends_without_a_host() -> None:
    made = Simulation(Address("127.0.0.1", free_port(), "token"), QUICK, 300)
    loop, until = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(made.run(until)))
    with in_short_turns():
        thread.start()
        try:
            while thread.is_alive() and not made.counts.link_errors:
                assert made.figures().connected == 0
        finally:
            loop.call_soon_threadsafe(until.set)
            thread.join()
            loop.close()
    assert made.outcome().connected == 0


def test_a_task_that_misses_its_cancellation_is_cancelled_again() -> None:
    missed: list[int] = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                missed.append(1)
                if len(missed) == 3:
                    raise

    async def failing() -> None:
        raise OSError("gone")

    async def run() -> None:
        tasks = [asyncio.create_task(deaf()), asyncio.create_task(failing())]
        await asyncio.sleep(0)
        await ended(tasks)
        assert all(task.done() for task in tasks)

    asyncio.run(run())
    assert len(missed) == 3
