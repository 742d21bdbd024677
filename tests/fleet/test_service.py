"""The control plane's unit is one that systemd takes, and `serve` speaks its protocol."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgelift_fleet.site import create_site
from tests.fleet.conftest import Server
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

UNITS = Path(__file__).parents[2] / "systemd"
UNIT = UNITS / "edgelift-fleet.service"


def lines(key: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.partition("=")[0] == key]


@pytest.mark.systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail("systemd-analyze is not installed")
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/edgelift/bin/edgelift", sys.executable))
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_runs_commands_that_exist_with_options_that_exist() -> None:
    for line in lines("ExecStart") + lines("ExecStartPre"):
        _, command, *options = line.split()
        shown = subprocess.run(
            [sys.executable, "-c", "from edgelift.cli import main; main()", command, "--help"],
            capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert shown.returncode == 0
        assert all(option in shown.stdout for option in options if option.startswith("--"))


def test_every_hardening_line_is_explained_and_the_user_is_made() -> None:
    explained = (UNITS / "README.md").read_text().partition("control plane under systemd")[2]
    for key in ("ProtectSystem", "NoNewPrivileges", "SystemCallFilter", "RestrictAddressFamilies", "LimitNOFILE",
                "StateDirectory", "KillMode", "PrivateDevices", "UMask"):  # fmt: skip
        assert lines(key) and key in explained, key
    (user,) = lines("User")
    assert f"\nu {user} " in (UNITS / "edgelift-fleet.sysusers").read_text()
    assert int(lines("LimitNOFILE")[0]) > 2 * 5000 and lines("Type") == ["notify"]


def test_systemd_is_told_when_the_server_answers_and_when_it_stops(tmp_path: Path) -> None:
    site, _ = create_site(tmp_path / "site")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(LONG_S)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        server = Server(site.folder, "--broker", "none", env=env).start()
        try:
            ready = told.recv(4096).decode().splitlines()
            assert ready[0] == "READY=1" and server.url in ready[1]
        finally:
            assert server.stop() == 0
        assert told.recv(4096) == b"STOPPING=1"
