"""The unit is one that systemd takes, and the agent speaks its protocol."""

import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

from edgelift_agent.config import load_config
from edgelift_agent.system.systemd import notify, watchdog_interval_s
from edgelift_agent.testing.host import ToyHost

UNITS = Path(__file__).parents[2] / "systemd"


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed"
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.mark.systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    tool = _tool("systemd-analyze")
    text = (UNITS / "edgelift-agent.service").read_text()
    # The program's place is the installer's choice; everything else is checked as it stands.
    unit = tmp_path / "edgelift-agent.service"
    unit.write_text(text.replace("/opt/edgelift/current/bin/edgelift-agent", sys.executable))
    done = subprocess.run([tool, "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.systemd
def test_systemd_finds_little_that_the_unit_could_still_keep_out() -> None:
    tool, unit = _tool("systemd-analyze"), UNITS / "edgelift-agent.service"
    done = subprocess.run(
        [tool, "security", "--offline=true", "--threshold=25", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )  # tenths: at most 2.5
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def _after_an_end(folder: Path, result: str) -> str:
    """What the unit does after an end of the agent, its waiting told instead of waited for."""
    joined = (UNITS / "edgelift-agent.service").read_text().replace("\\\n", " ")
    (line,) = (line for line in joined.splitlines() if line.startswith("ExecStopPost="))
    program, shell, words = line.partition("=")[2].partition(" -c ")
    assert (program, shell, words[0], words[-1]) == ("-/bin/sh", " -c ", "'", "'")
    script = words[1:-1].replace("$$", "$").replace("sleep ", "echo ")
    environment = {**os.environ, "SERVICE_RESULT": result, "RUNTIME_DIRECTORY": str(folder)}
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_an_agent_that_ends_again_and_again_is_started_ever_later_and_never_given_up(tmp_path: Path) -> None:
    waits = [
        _after_an_end(tmp_path, how) for how in ("exit-code", "signal", "core-dump", "watchdog", *["signal"] * 3)
    ]
    assert waits == ["1", "3", "7", "15", "25", "25", "25"]
    assert max(map(int, waits)) < int(_unit("TimeoutStopSec")[0])  # systemd would cut it short
    assert _after_an_end(tmp_path, "success") == ""  # asked for: nothing is waited for
    os.utime(tmp_path / "ends", (0, 0))  # the last one was long ago
    assert _after_an_end(tmp_path, "signal") == "1"
    assert _unit("StartLimitIntervalSec") == ["0"]
    assert _unit("RuntimeDirectoryPreserve") == ["restart"]


def test_the_example_configuration_is_a_good_one() -> None:
    assert load_config(UNITS / "agent.toml").device == "pi-1"


EXPLAINED = {
    "ProtectSystem", "NoNewPrivileges", "SystemCallFilter", "RestrictAddressFamilies", "WatchdogSec",
    "SupplementaryGroups", "LimitNOFILE", "DevicePolicy", "DeviceAllow", "LoadCredential", "SetCredential",
    "StateDirectory", "MemoryMax", "OOMScoreAdjust", "ExecStopPost", "RuntimeDirectoryPreserve",
}  # fmt: skip


def _unit(key: str) -> list[str]:
    lines = (UNITS / "edgelift-agent.service").read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.partition("=")[0] == key]


def test_every_hardening_line_is_explained() -> None:
    explained = (UNITS / "README.md").read_text()
    for key in EXPLAINED:
        assert _unit(key), key
        assert key in explained
    for allowed in _unit("DeviceAllow"):
        device, mode = allowed.split()
        assert mode == "rw"
        family = device.removeprefix("/dev/").removeprefix("char-").rstrip("*")
        assert family in explained


def test_the_agent_may_open_what_tells_of_throttling_and_what_runs_models() -> None:
    allowed = {line.split()[0] for line in _unit("DeviceAllow")}
    assert {"/dev/vcio", "/dev/vchiq", "char-drm", "char-nvidia*", "char-nvhost*", "char-nvgpu*"} <= allowed
    assert _unit("SupplementaryGroups") == ["video render"]
    assert int(_unit("LimitNOFILE")[0]) > 1024


def test_a_token_that_systemd_cannot_read_does_not_keep_the_agent_from_serving(
    host: ToyHost, device: Device
) -> None:
    fallbacks = dict(line.split(":", 1) for line in _unit("SetCredential"))  # systemd's default for LoadCredential
    assert fallbacks.keys() == {line.partition(":")[0] for line in _unit("LoadCredential")}
    device.config.write_text(device.config.read_text().replace(f'token = "{host.token}"', ""))
    for name, fallback in fallbacks.items():
        (device.folder / name).write_bytes(fallback.encode().decode("unicode_escape").encode())
    device.environment["CREDENTIALS_DIRECTORY"] = str(device.folder)
    device.start()
    until(lambda: device.status()["report"].get("degraded"), "the fault to be said")
    (said,) = device.status()["report"]["degraded"]
    assert (said["part"], said["code"]) == ("token", "bad-config")
    assert "restart" in said["message"]


@pytest.mark.systemd
def test_every_group_that_the_unit_names_is_made_where_it_is_missing(tmp_path: Path) -> None:
    tool = _tool("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("video:x:44:pi\n")  # as on a board that has it
    done = subprocess.run(
        [tool, f"--root={tmp_path}", str(UNITS / "edgelift.sysusers")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    groups = (tmp_path / "etc" / "group").read_text().splitlines()
    names = {line.partition(":")[0] for line in groups}
    assert {*_unit("SupplementaryGroups")[0].split(), *_unit("Group")} <= names
    assert "video:x:44:pi" in groups  # left as it was
    users = (tmp_path / "etc" / "passwd").read_text()
    assert f"{_unit('User')[0]}:" in users


def test_the_agent_says_ready_and_beats_the_watchdog(
    host: ToyHost, device: Device, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        said: queue.Queue[bytes] = queue.Queue()

        def listen() -> None:
            heard = b""
            while heard != b"STOPPING=1":
                said.put(heard := sock.recv(100))

        # As systemd does: what nobody takes would soon fill the socket, and hold the agent up.
        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        device.start()
        assert [said.get(timeout=LONG_S) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        device.stop()
        listening.join(LONG_S)
        assert not listening.is_alive()  # it has heard STOPPING=1


def test_without_systemd_nothing_is_said(monkeypatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    assert watchdog_interval_s() is None
