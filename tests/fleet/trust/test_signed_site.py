"""A site that signs and a real agent: what it takes, and what it does when somebody else answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet.conftest import Server
from tests.fleet.trust.sites import sign
from tests.simulators.device import Device

from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail
from edgelift_fleet.site import load_site
from edgelift_fleet.testing import wait_until

pytestmark = pytest.mark.fleet


@pytest.fixture
def signed(site: Path, releases: dict[str, Path]) -> Iterator[Server]:
    sign(load_site(site), releases.values())
    with Server(site, "--broker", "none") as made:
        yield made


@pytest.fixture
def device(signed: Server, tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path / "pi-1", signed.url, signed.token) as made:
        yield made


def detail(server: Server) -> DeviceDetail:
    return Client(server.url, server.operator).get("/v1/devices/pi-1", DeviceDetail)


def assign(server: Server, release: str) -> None:
    Client(server.url, server.operator).post("/v1/devices/pi-1/assign", AssignRequest(release), AssignReply)


def test_a_device_takes_what_is_signed_for_it(signed: Server, device: Device) -> None:
    device.start()
    wait_until(lambda: (device.state / "trust.json").exists())
    wait_until(lambda: Client(signed.url, signed.operator).get("/v1/devices/counts", dict)["total"] == 1)
    for number, release in enumerate(("digits@1", "digits@2", "digits@3"), 1):
        assign(signed, release)
        wait_until(lambda number=number: detail(signed).device.revision_seen == number)
    assert [
        fault for fault in device.status()["report"].get("degraded", []) if fault["part"] == "assignment"
    ] == []


@pytest.fixture
def mqtt_signed(site: Path, releases: dict[str, Path], mosquitto_program: str) -> Iterator[Server]:
    sign(load_site(site), releases.values())
    with Server(site) as made:
        yield made


def test_a_device_takes_what_a_broker_retains_for_it(mqtt_signed: Server, tmp_path: Path) -> None:
    device = Device(tmp_path / "pi-1", mqtt_signed.url, mqtt_signed.token, extra="[telemetry]\n")
    device.config.write_text(device.config.read_text().replace("[host]", "[host]\npoll_interval_s = 3000.0"))
    device.start()
    try:
        wait_until(lambda: device.status()["transport"] == "mqtt")
        for number, release in enumerate(("digits@1", "digits@2", "digits@3", "digits@1"), 1):
            assign(mqtt_signed, release)
            wait_until(lambda number=number: detail(mqtt_signed).device.revision_seen == number)
        assert [
            fault for fault in device.status()["report"].get("degraded", []) if fault["part"] == "assignment"
        ] == []
        assert device.status()["transport"] == "mqtt"
    finally:
        device.stop()
