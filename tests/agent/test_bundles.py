"""A bundle is asked for and brought, whatever the disk, the link or a power cut does meanwhile; no secret is in it."""

import json
import logging
import signal
from pathlib import Path

import msgspec
from tests.simulators.device import Device
from tests.simulators.updates import serve_first
from tests.waiting import until

from edgelift_agent.config import Config, HostConfig
from edgelift_agent.parts.bundle_files import BundleFiles
from edgelift_agent.system.recent_log import BEFORE, CURRENT, FILE_BYTES, MEMORY_BYTES, RecentLog
from edgelift_agent.system.secrets import REMOVED, scrubbed, without_secrets
from edgelift_agent.testing.faults import FaultyDisk
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.bundle import MAX_BUNDLE_BYTES, BundleAbout, unpack

ONE, TWO = "1" * 32, "2" * 32


def test_it_tells_of_logs_doctor_journal_machine_and_configuration(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.want_bundle(device.name, ONE)
    files = host.wait_for_bundle(ONE)
    about = msgspec.json.decode(files["about.json"], type=BundleAbout)
    assert (about.device, about.bundle, about.missing) == (device.name, ONE, {})
    assert b"enrolled" in files["agent.log"]
    assert {one["check"] for one in json.loads(files["doctor.json"])} >= {"agent", "disk", "host", "clock"}
    assert (
        json.loads(files["journal.json"])["slots"]["toy"]["artifact"]
        in device.status()["report"]["slots"]["toy"].values()
    )
    assert json.loads(files["machine.json"])["facts"]["abilities"] == ["bundle"]
    assert "disk_free_bytes" in json.loads(files["machine.json"])["now"]
    assert json.loads(files["status.json"])["transport"] == "http"
    assert json.loads(files["config.json"])["host"]["token"] == REMOVED
    assert json.loads(files["versions.json"])["packages"]["msgspec"]
    assert b"state.db" in files["folder.txt"]
    assert not [name for name, data in files.items() if host.token.encode() in data]
    until(lambda: any(event.kind == "bundle-brought" for event in host.of_kind("event")), "the event of it")
    # Serving never noticed, and another one may be asked for.
    assert device.answer() == 1
    host.want_bundle(device.name, TWO)
    assert host.wait_for_bundle(TWO)


def test_a_link_cut_in_its_middle_costs_a_try(host: ToyHost, device: Device) -> None:
    host.faults.bundle_cuts = 2
    device.start()
    host.want_bundle(device.name, ONE)
    host.wait_for_bundle(ONE)
    assert host.faults.bundle_cuts <= 0


def test_a_host_that_is_away_gets_it_when_it_is_back(host: ToyHost, device: Device) -> None:
    device.start()
    host.want_bundle(device.name, ONE)
    host.faults.down = True
    until(lambda: "retry_in_s" in device.log.read_text(), "a failed try")
    host.faults.down = False
    assert host.wait_for_bundle(ONE)


def test_a_power_cut_in_its_middle_has_it_made_again(host: ToyHost, device: Device) -> None:
    host.faults.bundle_cuts = 10_000
    device.start()
    host.want_bundle(device.name, ONE)
    until(lambda: host.faults.bundle_cuts < 10_000, "a bundle on its way")
    device.stop(signal.SIGKILL)
    host.faults.bundle_cuts = 0
    device.start()
    assert host.wait_for_bundle(ONE)


def test_a_full_disk_is_no_obstacle_and_is_told(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    device.stop()
    device.start("--fault", "ENOSPC", "--at", "1", "--lasting", "--mark", str(device.folder / "full"))
    host.want_bundle(device.name, ONE)
    files = host.wait_for_bundle(ONE)
    assert {one["code"] for one in json.loads(files["machine.json"])["degraded"]} == {"disk-full"}
    assert b"disk-full" in files["agent.log"]


def test_one_that_nobody_wants_any_more_is_dropped(host: ToyHost, device: Device) -> None:
    device.start()
    host.faults.bundle_cuts = 10_000
    host.want_bundle(device.name, ONE)
    until(lambda: host.faults.bundle_cuts < 10_000, "a bundle on its way")
    with host.changed:
        host.bundles.wanted.clear()
    host.faults.bundle_cuts = 0
    until(lambda: "a bundle was not taken code=not-found" in device.log.read_text(), "its end")
    host.want_bundle(device.name, TWO)
    assert host.wait_for_bundle(TWO)
    assert ONE not in host.bundles.brought


def test_the_log_outlives_the_process(host: ToyHost, device: Device) -> None:
    """As the unit starts it: what a process said last is in the next one's bundle."""
    device.start("run", module="edgelift_agent.cli")
    until((device.state / "log" / CURRENT).exists, "its first line")
    until(lambda: "enrolled" in (device.state / "log" / CURRENT).read_text(), "its first life")
    device.stop(signal.SIGKILL)
    device.start("run", module="edgelift_agent.cli")
    host.want_bundle(device.name, ONE)
    assert host.wait_for_bundle(ONE)["agent.log"].count(b": serving on http") == 2


class Saying:
    """What a logger hands to this handler, whatever a library of an earlier test has made of loggers."""

    def __init__(self, handler: RecentLog) -> None:
        self._handler = handler

    def say(self, message: str, *values: object) -> None:
        self._handler.handle(
            logging.LogRecord("edgelift_agent.x", logging.INFO, __file__, 1, message, values, None)
        )


def test_the_log_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    recent = RecentLog(tmp_path / "log")
    logger = Saying(recent)
    for number in range(3000):
        logger.say("line %d %s", number, "x" * 500)
    assert {path.name for path in (tmp_path / "log").iterdir()} == {CURRENT, BEFORE}
    assert all(path.stat().st_size <= FILE_BYTES for path in (tmp_path / "log").iterdir())
    text = recent.read(10_000_000).decode()
    assert "line 2999 " in text.splitlines()[-1]
    assert FILE_BYTES < len(text) <= 2 * FILE_BYTES
    assert len(recent.read(5000)) <= 5000 and recent.read(5000).startswith(b"20")
    memory = RecentLog()
    logger = Saying(memory)
    for number in range(3000):
        logger.say("line %d %s", number, "x" * 500)
    assert len(memory.read(10_000_000)) <= MEMORY_BYTES


def test_a_disk_that_refuses_costs_the_file_and_not_the_lines(tmp_path: Path) -> None:
    disk = FaultyDisk("ENOSPC", 4, root=tmp_path, mark=tmp_path / "full", lasting=True)
    recent = RecentLog(tmp_path / "log", disk)
    logger = Saying(recent)
    for word in ("first", "second", "third"):
        logger.say("the %s", word)
    assert (tmp_path / "full").exists()
    told = recent.read(10_000)
    assert [word in told for word in (b"the first", b"the second", b"the third")] == [True] * 3
    logger.say("no text in this one %d", "x")  # a line that can't be formatted costs itself


def test_secrets_are_taken_out_by_name_and_by_what_they_are() -> None:
    found = without_secrets({
        "host": {"token": "s3cret", "token_file": "/etc/token", "url": "http://h"}, "tags": {"wifi_password": "p"},
        "list": [{"api_key": "k"}], "empty": {"secret": ""},
    })  # fmt: skip
    assert found == {
        "host": {"token": REMOVED, "token_file": "/etc/token", "url": "http://h"}, "tags": {"wifi_password": REMOVED},
        "list": [{"api_key": REMOVED}], "empty": {"secret": ""},
    }  # fmt: skip
    text = (
        b"GET http://me:pw@host/x\nAuthorization: Bearer abcdefgh\npassword=hunter22, token: zzzzzz\n"
        b"the value is s3cret-value here; passwords are fine"
    )
    cleaned = scrubbed(text, ["s3cret-value", ""])
    for secret in (b"me:pw", b"abcdefgh", b"hunter22", b"zzzzzz", b"s3cret-value"):
        assert secret not in cleaned
    assert b"passwords are fine" in cleaned and b"host/x" in cleaned


def test_what_can_not_be_told_is_left_out_and_why_is_told(tmp_path: Path) -> None:
    def broken() -> object:
        raise RuntimeError("no luck with token=abcdef123")

    config = Config(device="pi-1", host=HostConfig(url="http://h", token="top-secret"), state_dir=str(tmp_path))
    large = {f"{n}": n * 7919 for n in range(100_000)}
    made = BundleFiles(config, RecentLog(), {"a.json": broken, "b.json": lambda: large}, lambda: ["top-secret"])
    files = unpack(made.make(ONE), device="pi-1", bundle=ONE)
    about = msgspec.json.decode(files["about.json"], type=BundleAbout)
    assert (
        about.missing["a.json"].startswith("RuntimeError: no luck") and "abcdef123" not in about.missing["a.json"]
    )
    assert "Only the last" in about.missing["b.json"]
    assert len(made.make(ONE)) < MAX_BUNDLE_BYTES
    assert b"top-secret" not in b"".join(files.values())
    assert "a.json" not in files
