"""Who may ask the running agent, and how it is found where its socket's name can't be written."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulators.device import Device

from edgelift_agent.admin import ask
from edgelift_agent.config import load_config
from edgelift_agent.doctor import RunningAgent, check_agent
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.errors import DeviceError

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
NOBODY = 65534


#: The command as another user would run it; Python itself may lie where only root may read.
AS = """
import os, sys
import edgelift_agent.admin, edgelift_agent.doctor, edgelift_agent.runtime, edgelift_agent.link.http, requests, psutil
from edgelift_agent.cli import main
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(int(sys.argv[1]))
main(sys.argv[2:])
"""


@pytest.fixture
def device(host: ToyHost) -> Iterator[Device]:
    """In a folder of its own, beside pytest's: that one is closed to others again whenever another pytest starts."""
    with tempfile.TemporaryDirectory(prefix="edgelift-") as folder:
        made = Device(Path(folder) / "device", host.url, host.token)
        yield made
        if made.process is not None:
            made.process.kill()
            made.process.wait()


def command(device: Device, *words: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-m", "edgelift_agent.cli"] if user is None else ["-c", AS, str(user)]
    return subprocess.run(
        [sys.executable, *program, *words, "--config", str(device.config)],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def reachable_by_all(path: Path) -> None:
    """Let another user walk to `path` itself, as to /var/lib."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder) not in ("/", "/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)


@ROOT_ONLY
def test_another_user_is_told_of_permission_and_not_that_no_agent_runs(host: ToyHost, device: Device) -> None:
    device.start()
    reachable_by_all(device.folder)
    (device.state / "run").chmod(0o700)
    told = command(device, "status", user=NOBODY)
    assert told.returncode == 1
    assert "Permission denied" in told.stderr
    assert str(device.state) in told.stderr
    assert "sudo" in told.stderr
    assert "(not-allowed)" in told.stderr
    device.stop()
    assert "(not-serving)" in command(device, "status").stderr


@ROOT_ONLY
def test_a_socket_without_a_file_answers_its_own_user_and_root_alone(host: ToyHost, device: Device) -> None:
    (device.state / "run").parent.mkdir(parents=True)
    (device.state / "run").write_text("a file where the socket's folder should be")
    reachable_by_all(device.folder)
    device.start()
    assert device.status()["report"]["device"] == device.name
    assert command(device, "status").returncode == 0
    refused = command(device, "status", user=NOBODY)
    assert (refused.returncode, "(not-allowed)" in refused.stderr) == (1, True)


def test_an_agent_that_is_stopped_is_not_taken_for_none(device: Device) -> None:
    device.start()
    assert device.process is not None
    os.kill(device.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeviceError, match="does not answer") as caught:
            ask(device.state / "run" / "admin.sock", "GET", "/status", timeout_s=0.5)
        assert caught.value.code == "busy"
        finding = check_agent(RunningAgent(load_config(device.config)))
        assert (finding.state, "does not answer" in finding.message) == ("fail", True)
    finally:
        os.kill(device.process.pid, signal.SIGCONT)


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as caught:
        ask(tmp_path / "run" / "admin.sock", "GET", "/status")
    assert caught.value.code == "not-serving"


@pytest.mark.parametrize("before", [True, False])
def test_options_may_stand_before_or_after_the_command(host: ToyHost, device: Device, before: bool) -> None:
    device.start()
    options = ["--debug", "--config", str(device.config)]
    words = [*options, "status"] if before else ["status", *options]
    done = subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", *words],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert (done.returncode, done.stdout.split()[0]) == (0, device.name)
    device.stop()
    failed = subprocess.run(done.args, capture_output=True, text=True)
    assert "Traceback" in failed.stderr  # --debug was heard on either side
