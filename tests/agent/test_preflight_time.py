"""A candidate's time is its own: what a busy device keeps it waiting is no reason to refuse it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agent.test_runtimes import manifest
from tests.waiting import until

from edgelift_agent.artifact.preflight import LONGEST, Preflight, has_hung
from edgelift_agent.system.processor import waited_s
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
