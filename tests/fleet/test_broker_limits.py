"""What one board may do to the broker, and what the broker and the server do about it."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import sqlalchemy as sa
from paho.mqtt.enums import CallbackAPIVersion

from edgelift_contract import codec, routes
from edgelift_contract.enrol import BrokerAccess, EnrolRequest
from edgelift_contract.errors import DeviceError
from edgelift_contract.report import Report
from edgelift_contract.telemetry import Batch, DeviceEvent, Item
from edgelift_fleet.client import Client
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.inbox import Inbox
from edgelift_fleet.intake import Message
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail, ServerHealth
from edgelift_fleet.mqtt import connection, passwords, reception
from edgelift_fleet.mqtt.access import HOST_USER, password_of
from edgelift_fleet.mqtt.messaging import messaging
from edgelift_fleet.mqtt.mosquitto import Broker
from edgelift_fleet.mqtt.probe import answers
from edgelift_fleet.mqtt.reception import Reception
from edgelift_fleet.site import create_site, load_site
from edgelift_fleet.testing import FACTS, FleetSimulator, connect_mqtt, simulated_fleet, wait_until
from tests.fleet.conftest import Server
from tests.fleet.test_broker import broker_pid
from tests.waiting import LONG_S

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def detail(server: Server, device: str) -> DeviceDetail:
    return operator(server).get(f"/v1/devices/{device}", DeviceDetail)


def as_host(server: Server) -> paho.Client:
    """A client that sees every topic of the site, in the server's place: the broker lets in one at a time."""
    port = int((server.site / "run" / "broker" / "port").read_text())
    password = password_of(load_site(server.site).secret("broker-key"), HOST_USER)
    return connect_mqtt(BrokerAccess("127.0.0.1", port, HOST_USER, password), HOST_USER)


def test_a_device_can_have_nothing_retained_but_its_report_and_state(
    mqtt_server: Server, mqtt_fleet: FleetSimulator
) -> None:
    (device,) = mqtt_fleet.add("pi-1", mqtt=True)
    for n in range(50):
        device.client.publish(f"{routes.ROOT}/pi-1/up/more-{n}", b"x" * 500_000, 1, retain=True)
    device.client.publish(f"{routes.ROOT}/pi-1/up/reported/more", b"x", 1, retain=True)
    device.client.publish(routes.reported_topic("pi-1"), b"", 1, retain=True).wait_for_publish(LONG_S)
    device.report()
    host = as_host(mqtt_server)
    retained: set[str] = set()
    host.on_message = lambda _c, _d, message: retained.add(message.topic) if message.retain else None
    host.subscribe(f"{routes.ROOT}/pi-1/#", 1)
    wait_until(lambda: routes.reported_topic("pi-1") in retained)
    host.disconnect()
    host.loop_stop()
    assert retained <= {routes.reported_topic("pi-1"), routes.state_topic("pi-1")}


def large_batch(device: str, seq: int) -> bytes:
    items = [Item(seq + n, event=DeviceEvent(at=1.0, kind="throttled", message="x" * 400)) for n in range(900)]
    return codec.canonical_json(Batch(schema=1, device=device, epoch="e", items=items))


def report(device: str, agent_version: str) -> bytes:
    made = Report(schema=1, device=device, epoch="e", sequence=1, at=0, agent_version=agent_version)
    return codec.canonical_json(made)


def test_a_witness_is_stored_before_a_flood_is_through(mqtt_server: Server, mqtt_fleet: FleetSimulator) -> None:
    flood, witness = mqtt_fleet.add("flood", "witness", mqtt=True)
    wait_until(lambda: detail(mqtt_server, "witness").agent_version)
    for n in range(60):
        flood.client.publish(routes.telemetry_topic("flood"), large_batch("flood", n * 1000), 1)
    last = flood.client.publish(routes.reported_topic("flood"), report("flood", "the last of the flood"), 1)
    last.wait_for_publish(LONG_S)  # the broker has it all, before the witness says a word
    witness.client.publish(routes.reported_topic("witness"), report("witness", "the witness"), 1)
    wait_until(lambda: detail(mqtt_server, "witness").agent_version == "the witness")
    assert detail(mqtt_server, "flood").agent_version != "the last of the flood"
    wait_until(lambda: detail(mqtt_server, "flood").agent_version == "the last of the flood", timeout_s=LONG_S)


class Acknowledged(paho.Client):
    """Keeps what it would have acknowledged."""

    def __init__(self) -> None:
        super().__init__(CallbackAPIVersion.VERSION2)
        self.numbers: list[int] = []

    def ack(self, mid: int, qos: int) -> paho.MQTTErrorCode:
        self.numbers.append(mid)
        return paho.MQTT_ERR_SUCCESS


def message(device: str, number: int, size_bytes: int = 10) -> paho.MQTTMessage:
    made = paho.MQTTMessage(number, routes.telemetry_topic(device).encode())
    made.payload, made.qos = b"x" * size_bytes, 1
    return made


def test_what_is_beyond_a_device_s_bound_is_not_acknowledged_and_comes_again() -> None:
    flooding: list[str] = []
    again, go_on = threading.Event(), threading.Event()

    def write(group: Sequence[object]) -> list[object]:
        go_on.wait(LONG_S)
        return ["stored"] * len(group)

    client = Acknowledged()
    with Inbox[Message](write) as inbox:
        up = Reception(inbox, on_flood=flooding.append, on_room=again.set)
        for n in range(reception.MOST_WAITING + 100):
            up.came(client, message("flood", n))
        up.came(client, message("witness", 70_000))
        assert flooding == ["flood"] and not client.numbers and not again.is_set()
        go_on.set()
        assert again.wait(LONG_S)
        wait_until(lambda: len(client.numbers) == reception.MOST_WAITING + 1)
        assert max(n for n in client.numbers if n < 70_000) == reception.MOST_WAITING - 1
        up.came(client, message("flood", 60_000))  # handed out again
        wait_until(lambda: 60_000 in client.numbers)


def test_one_large_message_after_another_counts_by_its_bytes() -> None:
    flooding: list[str] = []
    go_on = threading.Event()
    with Inbox[Message](lambda group: [go_on.wait(LONG_S)] * len(group)) as inbox:
        up = Reception(inbox, on_flood=flooding.append, on_room=lambda: None)
        for n in range(reception.MOST_WAITING_BYTES // 500_000 + 1):
            assert not flooding
            up.came(Acknowledged(), message("flood", n, 500_000))
        assert flooding == ["flood"]
        go_on.set()


@pytest.fixture
def broker(tmp_path: Path, mosquitto_program: str) -> Iterator[Broker]:
    with Broker(
        mosquitto_program, tmp_path / "broker", host="127.0.0.1", port=0, key="k", users=["a", "b"]
    ) as made:
        yield made


def enter(broker: Broker, user: str) -> paho.Client:
    return connect_mqtt(BrokerAccess("127.0.0.1", broker.port, user, broker.password(user)), user)


def test_who_floods_is_shut_out_for_a_while_and_nobody_else(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "SHUT_OUT_S", 3.0)
    flood, witness = enter(broker, "a"), enter(broker, "b")
    gone: set[str] = set()
    out = threading.Event()
    flood.on_disconnect = lambda *_: out.set()
    witness.on_disconnect = lambda *_: gone.add("witness")
    broker.shut_out("a")
    broker.admit("a")  # enrolling again doesn't help
    assert out.wait(LONG_S)
    wait_until(flood.is_connected)  # paho knocks on, and is let in once its time is over
    assert witness.is_connected() and not gone
    for client in (flood, witness):
        client.disconnect()
        client.loop_stop()


def test_a_flood_beyond_its_bound_is_stored_whole_in_the_end(
    tmp_path: Path, mosquitto_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shut out, let in again, handed out again: and not one message is lost on the way."""
    monkeypatch.setattr(reception, "MOST_WAITING", 100)
    monkeypatch.setattr(passwords, "SHUT_OUT_S", 1.0)
    monkeypatch.setattr(connection, "_AGAIN_S", 1.0)
    site, _ = create_site(tmp_path / "site")
    with contextlib.ExitStack() as stack:
        db = stack.enter_context(contextlib.closing(Database(site.database)))
        db.migrate()
        fleet = Fleet(site, db)
        stack.enter_context(fleet.lead)
        stack.enter_context(fleet.revisions)
        stack.enter_context(fleet.inbox)
        stack.enter_context(messaging(fleet, "auto", host="127.0.0.1", port=0))
        request = EnrolRequest(schema=1, device="flood", facts=FACTS)
        fleet.intake.enrol(codec.canonical_json(request))
        access = fleet.broker_access("flood", "127.0.0.1")
        assert access is not None
        client = connect_mqtt(access, "flood")
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        shut_out = threading.Event()
        client.on_disconnect = lambda *_: shut_out.set()
        with db.write(SITE):  # nothing is stored meanwhile
            for seq in range(200):
                item = Item(seq, event=DeviceEvent(at=1.0, kind="throttled"))
                body = codec.canonical_json(Batch(schema=1, device="flood", epoch="e", items=[item]))
                client.publish(routes.telemetry_topic("flood"), body, 1)
            assert shut_out.wait(LONG_S)

        def stored() -> int:
            with db.read() as session:
                return int(session.scalar(sa.text("SELECT count(*) FROM telemetry_note")) or 0)

        wait_until(lambda: stored() == 200, timeout_s=LONG_S)


def test_a_hundred_new_devices_at_once_are_all_let_in(broker: Broker) -> None:
    names = [f"new-{n}" for n in range(100)]
    threads = [threading.Thread(target=broker.admit, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = (broker._folder / "passwords").read_text()
    assert all(f"\n{name}:" in written for name in names)

    def all_in() -> bool:  # mosquitto reads its files a moment after it was told to
        return all(is_let_in(broker, name) for name in names)

    wait_until(all_in, LONG_S)


def is_let_in(broker: Broker, user: str) -> bool:
    try:
        client = enter(broker, user)
    except ConnectionError:
        return False
    client.disconnect()
    client.loop_stop()
    return True


def test_a_broker_without_a_free_place_is_told(tmp_path: Path, site: Path, mosquitto_program: str) -> None:
    server = Server(site, descriptors=400).start()
    try:
        port = int((site / "run" / "broker" / "port").read_text())
        assert operator(server).get("/v1/health", ServerHealth).broker == "connected"
        with contextlib.ExitStack() as stack:
            for _ in range(430):  # more than mosquitto may have open
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LONG_S))
            wait_until(lambda: operator(server).get("/v1/health", ServerHealth).broker == "full")
        wait_until(lambda: operator(server).get("/v1/health", ServerHealth).broker == "connected")
    finally:
        server.stop()


def test_the_probe_hears_a_broker_and_nothing_else(broker: Broker) -> None:
    assert answers("127.0.0.1", broker.port)  # a refusal is an answer
    assert answers("127.0.0.1", broker.port, "a", broker.password("a"))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert not answers("127.0.0.1", mute.getsockname()[1], patience_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not answers("127.0.0.1", port)


def test_what_the_broker_retains_is_not_published_again(site: Path, mosquitto_program: str) -> None:
    server = Server(site).start()
    try:
        with simulated_fleet(site) as fleet:
            devices = fleet.add(*(f"pi-{n}" for n in range(5)), mqtt=True)
            for device in devices:
                path = f"/v1/devices/{device.name}/assign"
                operator(server).post(path, AssignRequest("digits@1"), AssignReply)
            wait_until(lambda: all(device.revision == 1 for device in devices))
        server.stop()  # and mosquitto writes down what it retains
        server.start()
        wait_until(lambda: "the broker retains 5 assignments, 0 are published" in server.log.read_text())
        # One that lost its memory gets them again.
        (site / "run" / "broker" / "memory" / "mosquitto.db").unlink(missing_ok=True)
        os.kill(broker_pid(server), signal.SIGKILL)
        (site / "run" / "broker" / "memory" / "mosquitto.db").unlink(missing_ok=True)
        wait_until(lambda: "the broker retains 0 assignments, 5 are published" in server.log.read_text())
    finally:
        server.stop()


def test_what_the_broker_took_is_stored_whatever_ends_the_server(site: Path, mosquitto_program: str) -> None:
    """Killed while a board's reports come in by MQTT: the last one that the broker took is there afterwards."""
    server = Server(site).start()
    try:
        with simulated_fleet(site) as fleet:
            (device,) = fleet.add("pi-1", mqtt=True)
            wait_until(lambda: detail(server, "pi-1").agent_version)
            for n in range(300):  # the queue before it is long, and none of it is readable
                device.client.publish(routes.telemetry_topic("pi-1"), large_batch("pi-1", n * 1000)[:-1], 1)
            made = Report(
                schema=1, device="pi-1", epoch=device.epoch, sequence=99, at=0, agent_version="the last one"
            )
            topic = routes.reported_topic("pi-1")
            device.client.publish(topic, codec.canonical_json(made), 1).wait_for_publish(LONG_S)
            server.stop(signal.SIGKILL)
        server.start()
        wait_until(lambda: detail(server, "pi-1").agent_version == "the last one", timeout_s=LONG_S)
    finally:
        server.stop()


def test_a_full_queue_of_a_stopping_inbox_is_left_with_the_broker() -> None:
    client = Acknowledged()
    with Inbox[Message](lambda group: ["stored"] * len(group)) as inbox:
        pass
    Reception(inbox, on_flood=lambda _: None, on_room=lambda: None).came(client, message("pi-1", 1))
    assert not client.numbers
    assert not reception.is_over("t", DeviceError("disk-full", "The disk is full."))
