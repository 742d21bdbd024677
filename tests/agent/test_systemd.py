"""The unit is one that systemd takes, and the agent speaks its protocol."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulators.device import Device

from edgelift_agent.config import load_config
from edgelift_agent.system.systemd import notify, watchdog_interval_s
from edgelift_agent.testing.host import ToyHost

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.mark.systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        message = "systemd-analyze is not installed"
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    text = (UNITS / "edgelift-agent.service").read_text()
    # The program's place is the installer's choice; everything else is checked as it stands.
    unit = tmp_path / "edgelift-agent.service"
    unit.write_text(text.replace("/opt/edgelift/bin/edgelift-agent", sys.executable))
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_configuration_is_a_good_one() -> None:
    assert load_config(UNITS / "agent.toml").device == "pi-1"


def test_every_hardening_line_is_explained() -> None:
    explained = (UNITS / "README.md").read_text()
    for line in (UNITS / "edgelift-agent.service").read_text().splitlines():
        key = line.partition("=")[0]
        if key in (
            "ProtectSystem",
            "NoNewPrivileges",
            "SystemCallFilter",
            "RestrictAddressFamilies",
            "WatchdogSec",
        ):
            assert key in explained


def test_the_agent_says_ready_and_beats_the_watchdog(
    host: ToyHost, device: Device, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(15)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        device.start()
        assert sock.recv(100) == b"READY=1"
        assert sock.recv(100) == b"WATCHDOG=1"
        assert sock.recv(100) == b"WATCHDOG=1"
        device.stop()
        said = b""
        while said != b"STOPPING=1":
            said = sock.recv(100)


def test_without_systemd_nothing_is_said(monkeypatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    assert watchdog_interval_s() is None
