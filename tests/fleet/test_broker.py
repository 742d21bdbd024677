"""mosquitto as the server's child: who may enter, what each may read and write, how it lives and ends."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

from edgelift_contract import codec, routes
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.report import Presence
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail, ServerHealth
from edgelift_fleet.mqtt.access import HOST_USER, password_of
from edgelift_fleet.site import create_site, load_site
from edgelift_fleet.testing import FleetSimulator, SimulatedDevice, connect_mqtt, wait_until
from tests.fleet.conftest import Server, edgelift
from tests.waiting import LONG_S

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def assign(server: Server, device: str, release: str) -> AssignReply:
    return operator(server).post(f"/v1/devices/{device}/assign", AssignRequest(release), AssignReply)


def detail(server: Server, device: str) -> DeviceDetail:
    return operator(server).get(f"/v1/devices/{device}", DeviceDetail)


def broker_pid(server: Server) -> int:
    for task in Path(f"/proc/{server.info['pid']}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread, or a process, that ends while it is looked at
            for child in (task / "children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "mosquitto":
                    return int(child)
    return 0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_everything_by_mqtt(mqtt_server: Server, mqtt_fleet: FleetSimulator) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    assert device.client is not None
    # The broker has what it said; the server may hear of it a little later.
    wait_until(lambda: detail(mqtt_server, "pi-1").device.transport == "mqtt")
    assign(mqtt_server, "pi-1", "digits@1")
    wait_until(lambda: detail(mqtt_server, "pi-1").windows_received)
    wait_until(lambda: detail(mqtt_server, "pi-1").device.slots[0].version)
    found = detail(mqtt_server, "pi-1")
    (slot,) = found.device.slots
    assert (slot.version, slot.update.outcome) == ("1", "committed")
    assert found.device.online and found.swaps[0].dropped == 0 and found.latency[0].total.count == 50
    assert operator(mqtt_server).get("/v1/health", ServerHealth).broker == "connected"


def test_a_device_learns_of_its_assignment_at_once_and_also_later(mqtt_server, mqtt_fleet) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    assign(mqtt_server, "pi-1", "digits@1")
    wait_until(lambda: device.revision == 1)
    device.stop()
    assign(mqtt_server, "pi-1", "digits@2")
    device.start()
    wait_until(lambda: device.revision == 2)  # it was retained


def test_enrolment_lets_in_without_throwing_others_out(mqtt_server, mqtt_fleet) -> None:
    (first,) = mqtt_fleet.add("pi-1", mqtt=True)
    gone = threading.Event()
    first.client.on_disconnect = lambda *_: gone.set()
    mqtt_fleet.add("pi-2", "pi-3", mqtt=True)
    first.report()  # and the broker confirms it: whatever it did to this connection has arrived
    assert not gone.is_set()


@pytest.mark.parametrize("version_5", [True, False], ids=["mqtt5", "mqtt311"])
def test_a_hostile_device_reads_and_writes_nothing_of_others(mqtt_server, mqtt_fleet, version_5: bool) -> None:
    neighbour, hostile = mqtt_fleet.add("pi-1", "evil")
    access = hostile.enrol().broker
    client = connect_mqtt(access, "whatever", version_5=version_5)
    heard: list[str] = []
    client.on_message = lambda _c, _d, message: heard.append(message.topic)
    for topic in (
        "#",
        "edgelift/#",
        "+/+/+/+/+",
        routes.desired_topic("pi-1"),
        routes.reported_topic("pi-1"),
        "$SYS/#",
    ):
        client.subscribe(topic, 1)
    assign(mqtt_server, "pi-1", "digits@1")
    assign(mqtt_server, "evil", "digits@1")
    forged = neighbour.report()
    data = codec.canonical_json(forged).replace(b'"agent_version":"simulated"', b'"agent_version":"forged"')
    data = data.replace(b'"sequence":', b'"sequence":99')
    for topic in (routes.reported_topic("pi-1"), routes.desired_topic("pi-1"), routes.desired_topic("evil")):
        client.publish(topic, data, 1, retain=True).wait_for_publish(LONG_S)
    # In its own name it may speak, but not for another: the topic decides.
    client.publish(routes.reported_topic("evil"), data, 1).wait_for_publish(LONG_S)
    # That was the last word: once the server has judged it, it has judged all; and its own assignment, which came
    # after the neighbour's, has reached it.
    dropped = f"dropped topic={routes.reported_topic('evil')} code=wrong-device"
    wait_until(lambda: dropped in mqtt_server.log.read_text(), what="the last forged report at the server")
    wait_until(lambda: routes.desired_topic("evil") in heard, what="its own assignment")
    client.disconnect()
    client.loop_stop()
    assert set(heard) == {routes.desired_topic("evil")}
    assert detail(mqtt_server, "pi-1").agent_version == "simulated"
    assert detail(mqtt_server, "evil").agent_version == "simulated"


def test_nobody_enters_without_the_right_password(mqtt_server, mqtt_fleet) -> None:
    (device,) = mqtt_fleet.add("pi-1")
    access = device.enrol().broker
    for username, password in (("", ""), ("pi-1", "wrong"), ("pi-2", access.password), ("_host", access.password)):
        with pytest.raises(ConnectionError):
            connect_mqtt(BrokerAccess(access.host, access.port, username, password), "x")


def test_a_dead_broker_is_started_again_and_messages_flow(mqtt_server, mqtt_fleet) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    assign(mqtt_server, "pi-1", "digits@1")
    wait_until(lambda: detail(mqtt_server, "pi-1").device.slots[0].version == "1")
    first = broker_pid(mqtt_server)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: broker_pid(mqtt_server) not in (0, first), what="another mosquitto")
    device.stop()

    def connected_anew() -> bool:  # a simulated device does not reconnect by itself
        try:
            device.start()
        except ConnectionError:
            return False  # mosquitto runs, but doesn't listen yet
        return True

    wait_until(connected_anew, what="the new mosquitto's answer")
    wait_until(lambda: operator(mqtt_server).get("/v1/health", ServerHealth).broker == "connected")
    assign(mqtt_server, "pi-1", "digits@2")
    wait_until(lambda: detail(mqtt_server, "pi-1").device.slots[0].version == "2")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_broker_is_left_behind(mqtt_server: Server, how: signal.Signals) -> None:
    pid = broker_pid(mqtt_server)
    assert pid and alive(pid)
    status = mqtt_server.stop(how)
    wait_until(lambda: not alive(pid), what="the end of mosquitto")
    if how is not signal.SIGKILL:
        assert status == 0
        assert not (mqtt_server.site / "run" / "server.json").exists()
    else:
        answer = edgelift("devices", "--site", mqtt_server.site)
        assert answer.returncode == 1 and "No server runs" in answer.stderr


def test_the_broker_keeps_its_port_over_a_restart(mqtt_server: Server, mqtt_fleet: FleetSimulator) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    before = device.broker
    device.stop()
    mqtt_server.stop()
    mqtt_server.start()
    again = SimulatedDevice(mqtt_server.url, mqtt_server.token, "pi-1", mqtt=True)
    assert again.enrol().broker == before
    again.stop()


def test_a_stale_will_does_not_mark_a_device_as_gone(mqtt_server, mqtt_fleet) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    wait_until(lambda: detail(mqtt_server, "pi-1").device.online)
    topic = routes.state_topic("pi-1")
    for epoch, connect in (("an-older-boot", 7), (device.epoch, 0)):
        stale = codec.canonical_json(Presence(1, "pi-1", False, epoch, connect))
        device.client.publish(topic, stale, 1).wait_for_publish(LONG_S)
    # What another says later is judged later: once that is known, so are the stale ones.
    mqtt_fleet.add("pi-2", mqtt=True)
    wait_until(lambda: detail(mqtt_server, "pi-2").device.transport == "mqtt")
    assert detail(mqtt_server, "pi-1").device.online
    device.stop()
    wait_until(lambda: not detail(mqtt_server, "pi-1").device.online)


def test_another_broker(site, mqtt_server: Server, tmp_path) -> None:
    """`--broker mqtt://…`: here the mosquitto of another site stands for a broker that is there already."""
    create_site(tmp_path / "other")
    port = int((site / "run" / "broker" / "port").read_text())
    password = password_of(load_site(site).secret("broker-key"), HOST_USER)
    other = Server(tmp_path / "other", "--broker", f"mqtt://{HOST_USER}:{password}@127.0.0.1:{port}").start()
    try:
        assert f"broker 127.0.0.1:{port}" in other.ready_line
        assert password not in other.ready_line
        # Both servers are the same user of this broker, which lets in one at a time: they take turns.
        wait_until(lambda: operator(other).get("/v1/health", ServerHealth).broker == "connected")
        device = SimulatedDevice(other.url, other.token, "pi-9")
        assert device.enrol().broker.port == port
        device.stop()
    finally:
        other.stop()
