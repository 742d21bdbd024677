"""What a broker retains for a device that takes nothing unsigned: a doorbell, an old answer, a fresh one."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.agent.test_link import Broker, configure
from tests.simulators.device import Device
from tests.simulators.signing_site import SigningSite
from tests.waiting import until as wait

from edgelift_agent.link.mqtt import MAX_PACKET_BYTES
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_agent.trust.glance import worth
from edgelift_contract import routes
from edgelift_contract.assignment import Assignment, dump_assignment
from edgelift_contract.codec import digest
from edgelift_contract.report import Report

DAY = 86400.0
DESIRED, REPORTED = routes.desired_topic("pi-1"), routes.reported_topic("pi-1")


@pytest.fixture
def broker(mosquitto_program: str, tmp_path: Path) -> Iterator[Broker]:
    made = Broker(mosquitto_program, tmp_path)
    yield made
    made.close()


@pytest.fixture
def site(host: ToyHost, device: Device, broker: Broker) -> SigningSite:
    """It signs over HTTP, which is asked on its own hardly ever."""
    configure(device, poll_interval_s=3000.0)
    host.broker = broker.access
    return SigningSite(host).begin()


def degraded(device: Device) -> dict[str, str]:
    found = device.status()["report"].get("degraded", [])
    return {one["part"]: one["code"] for one in found if one["part"] != "clock"}


def serves(device: Device, version: str) -> None:
    wait(lambda: device.status()["report"].get("slots", {}).get("toy", {}).get("version") == version, version)


def begun(host: ToyHost, device: Device, broker: Broker) -> None:
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    device.start()
    wait(lambda: device.status()["transport"] == "mqtt")
    # Where the broker was reached before HTTP was asked, nobody has told it of this assignment: a bell does.
    broker.publish(DESIRED, dump_assignment(host.assignments["pi-1"]))
    serves(device, "1")


def test_what_is_retained_unsigned_has_http_asked_at_once(
    host: ToyHost, device: Device, broker: Broker, site: SigningSite
) -> None:
    begun(host, device, broker)
    host.assign("pi-1", toy=host.publish("2", ToyModelFile()))
    broker.publish(DESIRED, dump_assignment(host.assignments["pi-1"]))
    serves(device, "2")
    assert degraded(device) == {} and "degraded: part=assignment" not in device.log.read_text()


def test_where_http_can_not_be_asked_the_bell_is_told_until_it_can(
    host: ToyHost, device: Device, broker: Broker, site: SigningSite
) -> None:
    begun(host, device, broker)
    host.faults.down = True
    host.assign("pi-1", toy=host.publish("2", ToyModelFile()))
    broker.publish(DESIRED, dump_assignment(host.assignments["pi-1"]))
    wait(lambda: degraded(device) == {"assignment over MQTT": "server-error"})
    assert device.answer() is not None
    host.faults.down = False
    serves(device, "2")
    wait(lambda: degraded(device) == {})


def test_an_old_answer_about_what_is_held_is_left_alone(
    host: ToyHost, device: Device, broker: Broker, site: SigningSite
) -> None:
    begun(host, device, broker)
    broker.publish(DESIRED, site.sealed(host.assignments["pi-1"], "0" * 32))
    device.stop()
    device.start()
    wait(lambda: device.status()["transport"] == "mqtt")
    host.assign("pi-1", toy=host.publish("2", ToyModelFile()))  # what comes after it was looked at
    broker.publish(DESIRED, dump_assignment(host.assignments["pi-1"]))
    serves(device, "2")
    assert "not-fresh" not in device.log.read_text()


def test_an_old_answer_about_something_else_is_refused_and_told_until_it_is_gone(
    host: ToyHost, device: Device, broker: Broker, site: SigningSite
) -> None:
    begun(host, device, broker)
    held = host.assignments["pi-1"]
    other = msgspec.structs.replace(held, revision=7)
    broker.publish(DESIRED, site.sealed(other, "0" * 32))
    wait(lambda: degraded(device) == {"assignment": "not-fresh"})
    broker.publish(DESIRED, site.sealed(held, "1" * 32))
    wait(lambda: degraded(device) == {})
    host.assign("pi-1", toy=host.publish("2", ToyModelFile()))
    broker.publish(DESIRED, dump_assignment(host.assignments["pi-1"]))
    serves(device, "2")


def test_where_http_can_not_be_asked_a_report_asks_for_a_fresh_signature_and_mqtt_brings_it(
    host: ToyHost, device: Device, broker: Broker, site: SigningSite
) -> None:
    begun(host, device, broker)
    heard = device.status()["trust"]["heard_at"]
    device.stop()
    seen: list[Report] = []
    listen(broker, seen)

    def cut(_: Assignment) -> bytes:
        raise ConnectionError

    host.poll_body = cut
    device.start("--clock-offset-s", str(1.5 * DAY))
    wait(lambda: any(report.asks_fresh for report in seen))
    nonce = next(report.nonce for report in seen if report.asks_fresh)
    broker.publish(DESIRED, site.sealed(host.assignments["pi-1"], nonce))
    wait(lambda: device.status()["trust"]["heard_at"] > heard + DAY)
    assert degraded(device) == {}
    assert seen[-1].slots["toy"].version == "1"


def listen(broker: Broker, seen: list[Report]) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: seen.append(
        msgspec.json.decode(message.payload, type=Report)
    )
    client.on_connect = lambda *_: client.subscribe(REPORTED, 1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()


def test_a_glance_opens_asks_or_leaves_alone(host: ToyHost) -> None:
    site = SigningSite(host)
    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    assignment = host.assignments["pi-1"]
    data, held = site.sealed(assignment, "1" * 32), digest(dump_assignment(assignment))

    def glance(data: bytes, held: str, nonce: str, limit_bytes: int = MAX_PACKET_BYTES) -> str:
        return worth(data, device="pi-1", held=held, nonce=nonce, limit_bytes=limit_bytes)

    assert glance(data, "", "1" * 32) == "open"
    assert glance(data, held, "1" * 32) == "open"  # the fresh answer
    assert glance(data, held, "2" * 32) == "known"
    assert glance(data, "0" * 64, "2" * 32) == "open"  # refused there, and asked for over HTTP
    assert glance(dump_assignment(assignment), held, "1" * 32) == "ask"
    assert glance(data, held, "1" * 32, limit_bytes=len(data) - 1) == "ask"
    for odd in (b"", b"\x78", b"\x78" * 100, data[:-10], data + b"x", data[:200]):
        assert glance(odd, held, "1" * 32) in ("ask", "open"), odd
