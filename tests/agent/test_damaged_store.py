"""What a card lost or a person left in the models' folder costs a fetch, never a release; real processes."""

import json
import sqlite3
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.update.state_db import open_database
from edgelift_contract.assignment import Policy
from edgelift_contract.report import Report

QUICK = Policy(probation_s=0.2, allow_older=True)


def fresh(host: ToyHost, version: str, scale: float) -> int:
    return host.assign("pi-1", toy=host.publish(version, ToyModelFile(scale=scale), policy=QUICK))


def install(host: ToyHost, version: str, scale: float) -> str:
    """Assign it and wait until it is committed; returns its artifact."""
    revision = fresh(host, version, scale)
    report = host.wait_for("pi-1", lambda r: serves(r, version) and r.revision_applied == revision)
    return report.slots["toy"].artifact


def serves(report: Report, version: str) -> bool:
    return "toy" in report.slots and report.slots["toy"].version == version


def damage(path: Path) -> None:
    """One bit, as a worn card does: the length stays."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def blob_of(device: Device, artifact: str, what: str) -> Path:
    """The manifest itself, or the file that it names the model."""
    blobs = device.state / "blobs"
    if what == "manifest":
        return blobs / artifact
    files = json.loads((blobs / artifact).read_bytes())["files"]
    return blobs / next(entry["sha256"] for entry in files if entry["path"].startswith("model"))


@pytest.mark.parametrize("what", ["manifest", "model"])
def test_a_committed_file_that_the_card_damaged_is_fetched_again(host: ToyHost, device: Device, what: str) -> None:
    device.start()
    artifact = install(host, "1", 1)
    damage(blob_of(device, artifact, what))
    assert device.answer() == 1.0
    device.stop()
    device.start()
    until(lambda: device.answer() == 1.0, "the model to be served again")
    epoch = device.status()["report"]["epoch"]
    host.wait_for("pi-1", lambda r: r.epoch == epoch and serves(r, "1") and r.slots["toy"].state == "serving")


@pytest.mark.parametrize("what", ["manifest", "model"])
def test_an_old_file_that_the_card_damaged_is_no_reason_to_refuse(
    host: ToyHost, device: Device, what: str
) -> None:
    device.start()
    first = install(host, "1", 1)
    install(host, "2", 2)  # the first one is kept for a rollback
    damage(blob_of(device, first, what))
    assert install(host, "1", 1) == first
    assert device.answer() == 1.0


def test_what_a_stranger_left_among_the_models_is_removed(host: ToyHost, device: Device, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    device.start()
    install(host, "1", 1)
    for folder in ("blobs", "partial", "artifacts"):
        (device.state / folder / ".a-file").touch()
        (device.state / folder / "a-folder" / "below").mkdir(parents=True)
        (device.state / folder / "a-link").symlink_to(outside)
        (device.state / folder / "a-dead-link").symlink_to(tmp_path / "nowhere")
    install(host, "2", 2)
    third = install(host, "3", 3)

    def left() -> set[str]:
        return {name.name for name in (device.state / "artifacts").iterdir()}

    until(lambda: len(left()) == 2 and third in left(), "the first model and the strange names to go")
    until(lambda: not list((device.state / "partial").iterdir()), "the strange names to go there")
    names = {name.name for name in (device.state / "blobs").iterdir()}
    assert not names & {".a-file", "a-folder", "a-link", "a-dead-link"}
    assert (outside / "kept").exists()
    assert not device.status()["report"].get("degraded")


def test_a_state_folder_that_appears_late_is_served_from_at_once(host: ToyHost, device: Device) -> None:
    device.start()
    install(host, "1", 1)
    device.stop()
    card = device.state.with_name("card")
    away = device.state.rename(device.state.with_name("away"))
    device.state.symlink_to(card)  # as a mount point on a disk that isn't there yet
    host.faults.down = True
    device.start()
    until(lambda: device.status()["report"].get("degraded"), "the missing folder to be said")
    assert device.answer() is None
    away.rename(card)
    until(lambda: device.answer() == 1.0, "what is committed to serve")
    until(lambda: not device.status()["report"].get("degraded"), "the fault to be over")
    host.faults.down = False
    epoch = device.status()["report"]["epoch"]
    host.wait_for("pi-1", lambda r: r.epoch == epoch and serves(r, "1") and not r.degraded)


def test_another_programs_lock_on_the_database_keeps_nobody_waiting(host: ToyHost, device: Device) -> None:
    device.start()
    install(host, "1", 1)
    other = sqlite3.connect(device.state / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fresh(host, "2", 2)
    until(lambda: device.status()["report"].get("degraded"), "the lock to be said")
    assert device.answer() == 1.0
    other.execute("ROLLBACK")
    other.close()
    report = host.wait_for("pi-1", lambda r: serves(r, "2") and not r.degraded)
    assert report.slots["toy"].update.outcome in ("in-progress", "committed")
    own = open_database(device.folder / "other.db", Disk())
    assert own.execute("PRAGMA busy_timeout").fetchone()[0] < 1000  # the worker does nothing else meanwhile
    own.close()
