"""A candidate's time is its own: what a busy device keeps it waiting is no reason to refuse it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.agent.test_runtimes import manifest
from tests.reports import is_committed
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.artifact.preflight import LONGEST, Preflight, has_hung
from edgelift_agent.system.processor import waited_s
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError

#: A child that needs a tenth of a second of a processor and then says why it is no good.
CHILD = """
import time
while time.process_time() < 0.1:
    pass
print('{"kind": "ContractError", "code": "load-failed", "message": "came to its end"}')
"""

says_how_long = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel doesn't say how long a process waited"
)


@pytest.mark.parametrize(
    ("elapsed_s", "waited", "hung"),
    [(119, 0, False), (121, 0, True), (500, 400, False), (500, 379, True), (120 * LONGEST + 1, 1200, True)],
)
def test_only_its_own_time_counts_and_not_for_ever(elapsed_s: float, waited: float, hung: bool) -> None:
    assert has_hung(elapsed_s, waited, 120) is hung


@pytest.fixture
def crowd() -> Iterator[int]:
    """A processor that thirty busy processes share: its number."""
    processor = min(os.sched_getaffinity(0))
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(30)]
    try:
        for loop in loops:
            os.sched_setaffinity(loop.pid, {processor})
        yield processor
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@says_how_long
def test_a_candidate_that_is_kept_waiting_comes_to_its_end(
    crowd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(str(tmp_path))
    preflight = Preflight("x", timeout_s=1.0, nice=os.getpriority(os.PRIO_PROCESS, 0), module="slow_child")
    ended: list[ContractError] = []

    def on_the_crowded_processor() -> None:
        os.sched_setaffinity(0, {crowd})  # this thread's, and its child's
        with pytest.raises(ContractError) as caught:
            preflight.run(tmp_path, manifest("model", "onnxruntime", "onnx"))
        ended.append(caught.value)

    thread = threading.Thread(target=on_the_crowded_processor)
    thread.start()
    thread.join()
    assert [error.code for error in ended] == ["load-failed"], ended[0].message


@says_how_long
def test_how_long_a_process_waited_is_seen_from_outside(crowd: int) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as kept_waiting:
        try:
            os.sched_setaffinity(kept_waiting.pid, {crowd})
            until(lambda: waited_s(kept_waiting.pid) > 0.05, "a wait for the processor")
        finally:
            kept_waiting.kill()
    assert waited_s(kept_waiting.pid) == 0  # gone


def test_an_agent_that_was_stopped_meanwhile_refuses_nobody_for_it(host: ToyHost, device: Device) -> None:
    limit_s = 4.0
    text = device.config.read_text()
    device.config.write_text(text.replace("[update]\n", f"[update]\npreflight_timeout_s = {limit_s}\n"))
    device.start()
    assert device.process is not None
    agent = psutil.Process(device.process.pid)
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=3), policy=Policy(probation_s=0.2)))
    until(lambda: agent.children() or device.answer() == 3.0, "a candidate to be tried")
    agent.suspend()
    children, stopped_at = agent.children(), time.monotonic()
    for child in children:
        child.suspend()  # as in a container that is frozen, or a machine that is paused
    until(lambda: time.monotonic() > stopped_at + limit_s + 1, "more time than a candidate has")
    for process in (agent, *children):
        process.resume()
    host.wait_for(device.name, lambda r: is_committed(r, "1"))
    assert device.answer() == 3.0
