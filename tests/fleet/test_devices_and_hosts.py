"""Real agents and a real server: a cloned card, a site put back from a backup, a release asked for again."""

import itertools
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_agent.testing.ports import free_port
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceSummary
from edgelift_fleet.sightings import FORGET_AFTER_S, Caller, hear, takes_turns
from edgelift_fleet.testing import wait_until
from tests.fleet.conftest import Server, edgelift
from tests.simulators.device import Device

pytestmark = [pytest.mark.fleet]


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def summary(server: Server) -> DeviceSummary:
    (found,) = operator(server).get("/v1/devices", list[DeviceSummary])
    return found


def wait_online(server: Server) -> None:
    wait_until(lambda: any(one.online for one in operator(server).get("/v1/devices", list[DeviceSummary])))


def assign(server: Server, release: str, device: str = "pi-1") -> AssignReply:
    return operator(server).post(f"/v1/devices/{device}/assign", AssignRequest(release), AssignReply)


@pytest.fixture
def devices(tmp_path: Path) -> Iterator[list[Device]]:
    made: list[Device] = []
    yield made
    for device in made:
        if device.process is not None and device.process.poll() is None:
            device.process.kill()
            device.process.wait()


@pytest.fixture
def server_that_keeps_its_port(site: Path) -> Iterator[Server]:
    """A server that can be started again where its devices look for it: no outgoing connection takes such a port."""
    with Server(site, "--broker", "none", "--port", str(free_port())) as made:
        yield made


def turns(pattern: str, *, every_s: float = 1.0):
    speakers, at, numbers = (), 1000.0, {}
    for epoch in pattern:
        at += every_s
        numbers[epoch] = numbers.get(epoch, 0) + 1
        speakers = hear(speakers, Caller(epoch, f"10.0.0.{ord(epoch)}", numbers[epoch]), via="http", at=at)
    return speakers


@pytest.mark.parametrize(
    ("pattern", "two"),
    [("A", False), ("AAAA", False), ("AB", False), ("ABBB", False), ("ABCDEF", False), ("ABAB", False),
     ("AABABB", False), ("ABABA", True), ("AABBAABBAA", True), ("XABABA", True)],
)  # fmt: skip
def test_two_epochs_that_take_turns_are_two_devices_and_a_restart_is_not(pattern: str, two: bool) -> None:
    assert takes_turns(turns(pattern)) == two


def test_what_is_handed_out_again_is_no_sign_of_life_and_silence_is_forgotten() -> None:
    speakers = turns("AB")
    for number in range(10):
        old = Caller("A", "x", 1)  # a broker's retained report, again and again
        speakers = hear(speakers, old, via="mqtt", at=1010.0 + number)
        speakers = hear(speakers, Caller("B", "y", 10 + number), via="mqtt", at=1010.5 + number)
    assert not takes_turns(speakers)
    assert not takes_turns(turns("ABABABAB", every_s=FORGET_AFTER_S))
    assert len(turns("ABCDEFGHIJ")) <= 4


@pytest.mark.parametrize("transport", ["http", "mqtt"])
def test_a_cloned_card_is_shown_as_a_duplicate(
    request: pytest.FixtureRequest, tmp_path: Path, devices: list[Device], transport: str
) -> None:
    server = request.getfixturevalue("server" if transport == "http" else "mqtt_server")
    original = Device(tmp_path / "one", server.url, server.token)
    devices.append(original.start())
    wait_online(server)
    original.stop()
    clone = Device(tmp_path / "two", server.url, server.token)
    shutil.copytree(original.state, clone.state, ignore=shutil.ignore_patterns("run", ".lock"))
    devices.append(clone)
    for device in devices:
        device.config.write_text(device.config.read_text().replace("[serve]", "poll_interval_s = 1.0\n[serve]"))
        if transport == "http":
            # Polls are held for 30 s: an assignment now and then lets both of them come again.
            assign(server, "digits@1")
        device.start()
    releases = itertools.cycle(["digits@2", "digits@3", "digits@1"])

    def found() -> DeviceSummary | None:
        if transport == "http":
            assign(server, next(releases))
            time.sleep(0.5)
        seen = summary(server)
        return seen if seen.duplicates else None

    # They take the broker from each other after longer and longer waits: a busy machine may need some more of them.
    seen = wait_until(found, 300, what="a duplicate")
    assert len({one.epoch for one in seen.duplicates}) == 2
    assert {one.address for one in seen.duplicates} == {"127.0.0.1"}
    assert "DUPLICATE: 127.0.0.1 and 127.0.0.1" in edgelift("devices", "--site", server.site).stdout
    assert "2 devices speak as pi-1" in edgelift("device", "pi-1", "--site", server.site).stdout
    wait_until(lambda: "duplicate device: device=pi-1" in server.log.read_text(), what="the log's line")
    assert server.log.read_text().count("duplicate device: device=pi-1") == 1
    for device in devices:  # each time they meet at the broker they stay away twice as long
        assert device.log.read_text().count("connected to the broker") <= 10


def test_a_site_restored_from_a_backup_overtakes_its_devices(
    server_that_keeps_its_port: Server, tmp_path: Path, devices: list[Device]
) -> None:
    server = server_that_keeps_its_port
    device = Device(tmp_path / "one", server.url, server.token)
    devices.append(device.start())
    wait_online(server)
    assign(server, "digits@1")
    wait_until(lambda: summary(server).revision_seen == 1)
    assert edgelift("backup", tmp_path / "site.tar", "--with-secrets", "--site", server.site).returncode == 0
    for release in ("digits@2", "digits@3"):
        assign(server, release)
    wait_until(lambda: summary(server).revision_seen == 3)
    server.stop()
    shutil.rmtree(server.site)
    assert edgelift("restore", "--tell", tmp_path / "site.tar", server.site).returncode == 0
    began = time.monotonic()
    server.start()

    def agree() -> DeviceSummary | None:
        seen = summary(server)
        return seen if seen.revision > 3 and seen.revision_seen == seen.revision else None

    found = wait_until(agree, what="agreement")
    assert found.revision == 4
    assert next(slot.desired.version for slot in found.slots) == "1"
    wait_until(lambda: "device=pi-1 has seen revision 3" in server.log.read_text(), what="the log's line")
    assert server.log.read_text().count("device=pi-1 has seen revision 3") == 1
    # It asks again after its pauses (the least are 0.05, 0.1 and 0.2 s, then 0.25 s each), until its report is there.
    pauses = device.log.read_text().count("code=older-assignment") - 1
    assert pauses <= 3 + (time.monotonic() - began) / 0.25


def test_assigning_a_release_again_that_failed_begins_afresh(
    server: Server, tmp_path: Path, devices: list[Device]
) -> None:
    device = Device(tmp_path / "one", server.url, server.token)
    devices.append(device.start())
    wait_online(server)

    def ended(revision: int) -> bool:
        slots = summary(server).slots
        update = slots[0].update if slots else None
        return update is not None and update.revision == revision and update.outcome == "refused"

    first = assign(server, "digits@1")  # a release for other hardware than a toy agent's: it is refused
    wait_until(lambda: ended(first.revision), what="a refusal")
    assert device.process is not None
    device.process.send_signal(
        signal.SIGSTOP
    )  # or it might have refused once more before it is asked a third time
    try:
        again = assign(server, "digits@1")
        assert (again.changed, again.revision) == (True, first.revision + 1)
        assert not assign(server, "digits@1").changed
    finally:
        device.process.send_signal(signal.SIGCONT)
    wait_until(lambda: ended(again.revision), what="another try")
