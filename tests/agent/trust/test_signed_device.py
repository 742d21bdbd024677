"""A real agent that takes nothing unsigned: what it holds against what was signed, over restarts and while it learns whom to
trust; what serves stays, and the host is told why.
"""

import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.simulators.device import Device
from tests.simulators.signing_site import SigningSite, lying
from tests.waiting import until as wait

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.codec import digest
from edgelift_contract.hardware import this_machine
from edgelift_contract.manifest import MAX_MANIFEST_BYTES
from edgelift_contract.report import Report
from edgelift_contract.signed import Genuine


@pytest.fixture
def signing(host: ToyHost) -> SigningSite:
    return SigningSite(host).begin()


def serves(host: ToyHost, version: str) -> Report:
    def committed(report: Report) -> bool:
        slot = report.slots.get("toy")
        update = slot.update if slot else None
        return bool(slot and slot.version == version and update and update.outcome == "committed")

    return host.wait_for("pi-1", committed)


def assign(host: ToyHost, version: str, **options: Any) -> None:
    host.assign("pi-1", toy=host.publish(version, ToyModelFile(scale=float(version)), **options))


def refused(host: ToyHost, code: str) -> Report:
    """The host is told that the update came to this."""

    def is_told(report: Report) -> bool:
        slot = report.slots.get("toy")
        return bool(slot and slot.update and slot.update.code == code)

    return host.wait_for("pi-1", is_told)


def degraded(host: ToyHost, part: str, code: str) -> Report:
    return host.wait_for("pi-1", lambda r: any((one.part, one.code) == (part, code) for one in r.degraded))


def whole(host: ToyHost) -> Report:
    return host.wait_for("pi-1", lambda r: not [one for one in r.degraded if "clock" not in one.part])


def test_what_is_signed_is_installed_also_after_the_power_went_on_the_way(
    host: ToyHost, device: Device, signing: SigningSite
) -> None:
    host.faults.held = True
    assign(host, "1")
    device.start()
    wait(lambda: host.last("pi-1") is not None and host.last("pi-1").revision_seen == 1)
    asked, answers = host.signing.asked_anew["pi-1"], signing.answers
    device.stop(signal.SIGKILL)
    host.faults.held = False
    device.start()
    serves(host, "1")
    # What was signed of it stood in the journal: nobody was asked to sign it once more.
    assert (host.signing.asked_anew["pi-1"], signing.answers) == (asked, answers)


ANOTHER: Any = "jetson-ampere"  # no machine that tests run on


@pytest.mark.parametrize(
    ("lie", "built"),
    [
        (lying(release_counter=9), {}),
        (lying(runtime="litert"), {}),
        (lying(hardware_class=this_machine()), {"hardware_class": ANOTHER}),
    ],
    ids=["counter", "runtime", "class"],
)
def test_a_manifest_that_says_other_than_was_signed_is_refused(
    host: ToyHost, device: Device, signing: SigningSite, lie: Callable[[Genuine], Genuine], built: dict[str, Any]
) -> None:
    assign(host, "1")
    device.start()
    serves(host, "1")
    answer, signing.lie = device.answer(), lie
    assign(host, "2", **built)
    report = refused(host, "not-agreed")
    assert (report.slots["toy"].version, device.answer()) == ("1", answer)
    signing.lie = lambda said: said
    assign(host, "3")
    serves(host, "3")


def test_what_is_signed_and_does_not_suit_is_refused_each_with_its_own_code(
    host: ToyHost, device: Device, signing: SigningSite
) -> None:
    assign(host, "5")
    device.start()
    serves(host, "5")
    answer = device.answer()

    def still(report: Report) -> None:
        assert (report.slots["toy"].version, device.answer()) == ("5", answer)

    assign(host, "6", hardware_class=ANOTHER)
    still(degraded(host, "assignment", "wrong-hardware-class"))
    assign(host, "4")
    still(degraded(host, "assignment", "older-release"))
    signing.signer.device = "pi-2"
    assign(host, "7")
    still(degraded(host, "assignment", "wrong-device"))
    signing.signer.device = "pi-1"
    long = host.publish("8", ToyModelFile(), padding=100)
    # A manifest of more than any may have, truly signed: a comment in it, as it were.
    data = host.blobs[long.artifact]
    data += b" " * (MAX_MANIFEST_BYTES + 1 - len(data))
    host.blobs[digest(data)] = data
    served = host.served_bytes
    host.assign("pi-1", toy=msgspec.structs.replace(long, artifact=digest(data), manifest_bytes=len(data)))
    still(refused(host, "too-large"))
    assert host.served_bytes == served  # not a byte of it was fetched
    assign(host, "9")
    serves(host, "9")
    whole(host)


def test_what_is_signed_and_finds_no_room_is_told_and_waits(
    host: ToyHost, device: Device, signing: SigningSite
) -> None:
    assign(host, "1")
    device.start()
    serves(host, "1")
    device.stop()
    config = device.config.read_text()
    device.config.write_text(config.replace("[update]", f"[update]\ndisk_reserve_bytes = {1 << 50}"))
    device.start()
    assign(host, "2", padding=1000)
    report = refused(host, "disk-full")
    assert report.slots["toy"].version == "1"
    device.stop()
    device.config.write_text(config)
    device.start()
    serves(host, "2")


def test_a_device_learns_whom_to_trust_from_a_site_that_begins_to_sign_and_takes_nothing_unsigned_then(
    host: ToyHost, device: Device
) -> None:
    assign(host, "1")
    device.start()
    serves(host, "1")
    host.faults.held = True
    assign(host, "2", padding=1 << 20)
    host.wait_for("pi-1", lambda r: r.revision_seen == 2)
    device.stop(signal.SIGKILL)
    site = SigningSite(host).begin()
    site.signs = False  # somebody stands in its place
    device.start()
    wait((device.state / "trust.json").exists)
    host.faults.held = False
    # What was under way was assigned unsigned: what serves stays, and it was asked for anew.
    report = refused(host, "not-signed")
    assert report.slots["toy"].version == "1" and report.nonce
    degraded(host, "assignment", "not-signed")
    assign(host, "3")
    wait(lambda: "code=not-signed" in device.log.read_text().split("revision", 1)[-1])
    assert host.last("pi-1").slots["toy"].version == "1"
    site.signs = True
    serves(host, "3")
    whole(host)
    # It never learns again: other roots, over the same authenticated way, change nothing.
    kept = (device.state / "trust.json").read_bytes()
    device.stop()
    SigningSite(host).begin()
    assign(host, "4")
    device.start()
    degraded(host, "assignment", "not-signed")
    assert (device.state / "trust.json").read_bytes() == kept
    site.begin()
    serves(host, "4")


def test_what_was_under_way_unsigned_goes_on_by_itself_once_it_comes_signed(host: ToyHost, device: Device) -> None:
    assign(host, "1")
    device.start()
    serves(host, "1")
    host.faults.held = True
    assign(host, "2", padding=1 << 20)
    host.wait_for("pi-1", lambda r: r.revision_seen == 2)
    device.stop(signal.SIGKILL)
    SigningSite(host).begin()
    device.start()
    wait((device.state / "trust.json").exists)
    host.faults.held = False
    assert serves(host, "2").revision_seen == 2  # nobody had to assign it again


def test_once_a_day_a_fresh_signature_is_asked_for_and_else_none(
    host: ToyHost, device: Device, signing: SigningSite
) -> None:
    assign(host, "1")
    device.start()
    serves(host, "1")
    device.stop()
    answers = signing.answers
    device.start()
    wait(lambda: host.signing.asked_anew["pi-1"] >= 1)
    host.wait_for("pi-1", lambda r: not r.degraded and r.epoch != "")
    assert signing.answers == answers
    heard = device.status()["trust"]["heard_at"]
    device.stop()
    device.start("--clock-offset-s", str(1.1 * 86400))
    wait(lambda: signing.answers == answers + 1)
    wait(lambda: device.status()["trust"]["heard_at"] > heard + 80000)
    assert signing.answers == answers + 1


def test_roots_that_are_none_are_not_learnt_and_the_device_goes_on(host: ToyHost, device: Device) -> None:
    site = SigningSite(host).begin()
    host.signing.roots = {**host.signing.roots, "image": "{}"}
    assign(host, "1")
    device.start()
    degraded(host, "roots", "metadata-wrong")
    serves(host, "1")
    assert not (device.state / "trust.json").exists()
    device.stop()
    site.begin()
    device.start()
    wait((device.state / "trust.json").exists)
