"""`rollout start --wait`: it outlives its server, and ends where a rollout has paused by itself."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_agent.testing.ports import free_port
from edgelift_fleet.testing import Behaviour, FleetSimulator, simulated_fleet
from tests.fleet.conftest import Server, edgelift, environment

pytestmark = pytest.mark.fleet

START = ("rollout", "start", "digits@2", "--to", "all", "--waves", "100%", "--probation", "0s", "--wait")
NO_TRAFFIC = ("--min-requests", "0")
COMMAND = (sys.executable, "-c", "from edgelift.cli import main; main()")


@pytest.fixture
def lasting(site: Path) -> Iterator[Server]:
    """A server that comes back at its old port."""
    with Server(site, "--broker", "none", "--port", str(free_port())) as made:
        yield made


@pytest.fixture
def boards(lasting: Server) -> Iterator[FleetSimulator]:
    with simulated_fleet(lasting.site) as simulator:
        yield simulator


def test_a_server_that_is_killed_meanwhile_is_waited_for(lasting: Server, boards: FleetSimulator) -> None:
    gate = threading.Event()
    boards.add("pi-1", behaviour=Behaviour(gate=gate))
    lines: list[str] = []
    with subprocess.Popen(
        [*COMMAND, *START, *NO_TRAFFIC, "--site", lasting.site],
        stdout=subprocess.PIPE, text=True, env=environment(), stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if "Waiting for pi-1 to serve" in line and not gate.is_set():
                lasting.stop(signal.SIGKILL)
            if "It is waited for:" in line:
                lasting.start()
                gate.set()
    assert process.returncode == 0 and gate.is_set(), lines
    assert sum("It is waited for:" in line for line in lines) == 1
    assert lines[-1].startswith("r1: digits@2 to all is done")


def test_it_ends_where_a_rollout_has_paused_by_itself(lasting: Server, boards: FleetSimulator) -> None:
    boards.add("pi-1", behaviour=Behaviour(bad={"2": "refused"}))
    ended = edgelift(*START, *NO_TRAFFIC, "--on-breach", "pause", "--site", lasting.site)
    assert ended.returncode == 1
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("r1: digits@2 to all is paused: wave 1 of 1, 0 of 1 committed, 1 failed.")
