"""Leases and swaps: no request falls between two generations, none is destroyed under a request."""

import gc
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from tests.waiting import LONG_S, until

from edgelift_agent.serving.reaper import Reaper
from edgelift_agent.serving.slots import Generation, Slot
from edgelift_agent.telemetry.latency import GenerationKey
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.errors import DeviceError
from edgelift_contract.manifest import parse_manifest


def generation(number: int) -> Generation:
    wanted, blobs = toy_artifact("1", ToyModelFile())
    key = GenerationKey("toy", number, wanted.artifact, "toy", "1")
    return Generation(key, parse_manifest(blobs[wanted.artifact]), ToyModel(ToyModelFile(), ["x"], ["y"]), 0.0)


def test_a_request_in_flight_keeps_its_generation_while_the_next_gets_the_new_one() -> None:
    slot = Slot("toy")
    slot.swap(generation(1))
    with slot.lease() as first:
        second_one, began = generation(2), time.perf_counter()
        old, held_us = slot.swap(second_one)
        assert 0 < held_us <= (time.perf_counter() - began) * 1e6  # how little it is: scripts/bench swap
        assert (old, first.leases) == (first, 1)
        with slot.lease() as second:
            assert (first.number, second.number) == (1, 2)
    assert first.leases == 0


def test_an_empty_slot_says_so() -> None:
    with pytest.raises(DeviceError) as caught, Slot("toy").lease():
        pass
    assert caught.value.code == "not-serving"


def test_parked_requests_wait_and_all_are_answered_by_the_new_generation() -> None:
    slot = Slot("toy")
    slot.swap(generation(1))
    slot.park()
    got: list[int] = []

    def request() -> None:
        with slot.lease() as leased:
            got.append(leased.number)

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: slot.parked_requests == 8)
    time.sleep(0.05)
    assert got == []
    slot.swap(generation(2))
    for thread in threads:
        thread.join()
    assert got == [2] * 8
    assert slot.parked_requests == 8
    assert slot.park_max_s >= 0.04


def test_a_parked_request_gives_up_at_its_deadline_and_too_many_are_turned_away() -> None:
    slot = Slot("toy", park_limit=1)
    slot.park()
    with pytest.raises(DeviceError) as caught, slot.lease(timeout_s=0.05):
        pass
    assert caught.value.code == "busy"
    found: list[object] = []

    def wait() -> None:
        with slot.lease(timeout_s=LONG_S) as leased:
            found.append(leased.number)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: slot.parked_requests == 2)
    with pytest.raises(DeviceError, match="wait already"), slot.lease(timeout_s=LONG_S):
        pass
    slot.swap(generation(1))
    waiting.join()
    assert found == [1]


def test_the_reaper_destroys_only_what_has_drained_and_never_on_the_requests_thread() -> None:
    slot, reaper = Slot("toy"), Reaper()
    slot.swap(generation(1))
    gone: list[tuple[bool, str]] = []
    with slot.lease() as leased:
        old, _ = slot.swap(generation(2))
        reaper.retire(slot, old, 0.05, lambda done: gone.append((done, threading.current_thread().name)))
        until(lambda: gone)
        assert gone == [(False, "reaper")]
        assert not leased.model.closed
        assert leased.model.run({"x": __import__("numpy").ones((1, 4))})
        assert reaper.pending == 1
    assert reaper.wait_idle(LONG_S)
    assert gone == [(False, "reaper"), (True, "reaper")]
    assert old.model.closed
    reaper.stop()


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads change places fifty times as often as usual: more interleavings, in less time.

    The reaper collects garbage for each generation, and what other tests of this process have imported is none.
    """
    before = sys.getswitchinterval()
    gc.freeze()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)
    gc.unfreeze()


@pytest.mark.usefixtures("many_switches")
def test_many_threads_and_many_swaps_lose_no_request() -> None:
    slot, reaper = Slot("toy"), Reaper()
    slot.swap(generation(1))
    stop, answered, wrong = threading.Event(), [0] * 4, []

    def requests(me: int) -> None:
        last = 0
        while not stop.is_set():
            with slot.lease() as leased:
                if leased.number < last or leased.model.closed:
                    wrong.append((last, leased.number))
                last = leased.number
                answered[me] += 1

    threads = [threading.Thread(target=requests, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for number in range(2, 32):
        old, _ = slot.swap(generation(number))
        reaper.retire(slot, old, 5)
        before = list(answered)
        until(lambda before=before: all(n > b for n, b in zip(answered, before, strict=True)))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert reaper.wait_idle(LONG_S)
    reaper.stop()
