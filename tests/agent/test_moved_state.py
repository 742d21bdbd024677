"""The state folder, or a file in it, is removed or replaced under a running agent: it serves on, and a restart does too."""

import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.simulators.updates import outcome, serve_first
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.report import Report


def remove_tree(folder: Path) -> None:
    """As `rm -r` does, and once more where the agent wrote or removed a file meanwhile."""

    def removed() -> bool:
        try:
            shutil.rmtree(folder)
        except OSError:
            return False
        return True

    until(removed, f"a removed {folder.name}")


def remove_all(device: Device) -> None:
    remove_tree(device.state)


def move_away(device: Device) -> None:
    device.state.rename(device.state.with_name("elsewhere"))


def remove_database(device: Device) -> None:
    for file in device.state.glob("state.db*"):
        file.unlink(missing_ok=True)  # SQLite removes its journals itself


def restore_older(device: Device) -> None:
    """As a backup does that is brought back: the name is another file's, which knows of nothing."""
    other = device.state / "restored"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE records (kind TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (kind, key))")
    database.close()
    other.rename(device.state / "state.db")


def written(device: Device) -> dict[str, str]:
    """What the database of that name has committed: slot → version."""
    try:
        with sqlite3.connect(f"file:{device.state / 'state.db'}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT key, body FROM records WHERE kind = 'slot'").fetchall()
        database.close()
    except sqlite3.Error:
        return {}
    return {key: json.loads(body)["version"] for key, body in rows}


@pytest.mark.parametrize("harm", [remove_all, move_away, remove_database, restore_older])
def test_what_is_committed_is_written_down_again(
    host: ToyHost, device: Device, harm: Callable[[Device], None]
) -> None:
    serve_first(host, device)
    harm(device)
    until(lambda: written(device) == {"toy": "1"}, "the record in a file of that name")
    assert device.answer() == 1
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert written(device) == {"toy": "2"} and device.status()["report"]["slots"]["toy"]["version"] == "2"
    device.stop(signal.SIGKILL)
    device.start()
    assert device.answer() == 2
    # Its numbers began anew: the host takes the windows and records of the new file too.
    host.assign(device.name, toy=host.publish("3", ToyModelFile(scale=3)))
    assert outcome(host, device, "3") == ("committed", "", "3")
    until(lambda: {s.generation_to for s in host.of_kind("swap")} >= {1, 2}, "the swaps")


def test_a_second_agent_on_the_folder_is_kept_out(host: ToyHost, device: Device, tmp_path: Path) -> None:
    serve_first(host, device)
    before = device.state.stat().st_ino
    move_away(device)
    until(lambda: device.state.exists() and device.state.stat().st_ino != before, "a folder of that name")
    until(lambda: written(device) == {"toy": "1"}, "the record in a file of that name")
    second = Device(tmp_path / "second", host.url, host.token)
    second.config.write_text(second.config.read_text().replace(str(second.state), str(device.state)))
    second.start(wait=False)
    assert second.process.wait() != 0
    assert device.answer() == 1


def test_another_agents_folder_is_left_alone(host: ToyHost, device: Device, tmp_path: Path) -> None:
    """It was quicker than this one's next look: this one serves on, and writes nothing until the other has ended."""
    serve_first(host, device)
    device.process.send_signal(signal.SIGSTOP)
    move_away(device)
    second = Device(tmp_path / "second", host.url, host.token, name="pi-2")
    second.config.write_text(second.config.read_text().replace(str(second.state), str(device.state)))
    try:
        second.start()
        device.process.send_signal(signal.SIGCONT)
        host.wait_for(device.name, lambda r: ("state-folder", "already-running") in faults(r))
        host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
        host.wait_for(device.name, lambda r: r.revision_seen == 2 or ("journal", "already-running") in faults(r))
        assert device.answer() == 1 and written(device) == {}
    finally:
        second.stop()
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert written(device) == {"toy": "2"}
    host.wait_for(device.name, lambda r: not faults(r))


def faults(report: Report) -> set[tuple[str, str]]:
    return {(fault.part, fault.code) for fault in report.degraded}


def test_the_administrator_is_answered_without_the_sockets_name(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    remove_tree(device.state / "run")
    assert device.status()["report"]["slots"]["toy"]["version"] == "1"


def test_a_unix_socket_whose_name_was_removed_is_there_again(host: ToyHost, tmp_path: Path) -> None:
    path = tmp_path / "infer.sock"
    device = Device(tmp_path / "d", host.url, host.token, serve=f'unix_socket = "{path}"')
    try:
        serve_first(host, device)
        path.unlink()
        until(path.exists, "the socket's name")
    finally:
        device.stop()
