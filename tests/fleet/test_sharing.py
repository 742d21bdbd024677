"""Several servers at one broker: what devices retain goes to the leader, what they send once goes to one of them."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgelift_contract import codec, routes
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.telemetry import Batch, DeviceEvent, Item
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail, ServerHealth
from edgelift_fleet.mqtt.messaging import parse_broker
from edgelift_fleet.site import load_site
from edgelift_fleet.tables import ControlRow, TelemetryNoteRow
from edgelift_fleet.testing import SimulatedDevice, connect_mqtt
from tests.fleet.conftest import Server, make_site
from tests.fleet.postgres import Postgres
from tests.fleet.test_lead import leads, replica
from tests.waiting import LONG_S, until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


@pytest.fixture
def broker(mosquitto_program: str, tmp_path: Path) -> Iterator[int]:
    """A broker that is there already and lets anyone in; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = subprocess.Popen([mosquitto_program, "-c", str(config)], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    try:
        until(answers)
        yield port
    finally:
        process.terminate()
        process.wait(LONG_S)


def health(server: Server) -> ServerHealth:
    return Client(server.url, server.operator).get("/v1/health", ServerHealth)


def batch(device: str, number: int) -> bytes:
    event = DeviceEvent(at=float(number + 1), kind="tested")
    return codec.canonical_json(Batch(schema=1, device=device, epoch="e1", items=[Item(seq=number, event=event)]))


def sharers(db: Database) -> int:
    with db.read() as session:
        query = sa.select(sa.func.count()).select_from(ControlRow).where(ControlRow.name.like("mqtt:%"))
        return session.scalar(query) or 0


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_telemetry_of_a_server_that_is_killed_is_stored_once_each(site: Path, broker: int) -> None:
    options = ("--broker", f"mqtt://127.0.0.1:{broker}")
    one, two = Server(site, *options).start(), Server(replica(site, "two"), *options).start()
    with closing(Database(load_site(site).database)) as db:
        try:
            until(lambda: leads(one) and health(one).broker == "connected" and sharers(db) == 2)
            assert health(two).broker == "none" and not leads(two)
            device = SimulatedDevice(two.url, two.token, "pi-1")
            device.enrol()
            sender = connect_mqtt(BrokerAccess("127.0.0.1", broker), "sender")
            sent = 0
            for _ in range(3):  # the leader is stopped, killed, and gone for good
                for number in range(sent, sent + 40):
                    sender.publish(routes.telemetry_topic("pi-1"), batch("pi-1", number), 1).wait_for_publish(
                        LONG_S
                    )
                sent += 40
                if sent == 40:
                    one.process.send_signal(signal.SIGSTOP)  # what comes now waits in its session
                if sent == 80:
                    one.stop(signal.SIGKILL)
            until(lambda: leads(two) and health(two).broker == "connected")
            until(lambda: sharers(db) == 1, "the dead server's session taken over")
            until(lambda: stored(db) == sent)
            sender.disconnect()
            sender.loop_stop()
            device.stop()
        finally:
            one.stop(signal.SIGKILL)
            assert two.stop() == 0
    assert "took over what waited for another server" in two.log.read_text()


def test_what_comes_while_the_database_is_away_is_stored_when_it_is_back(
    own_postgres: Postgres, tmp_path: Path, releases: dict[str, Path], broker: int
) -> None:
    site = make_site(tmp_path / "site", releases, own_postgres.database())
    server = Server(site, "--broker", f"mqtt://127.0.0.1:{broker}").start()
    with closing(Database(load_site(site).database)) as db:
        try:
            until(lambda: health(server).broker == "connected")
            SimulatedDevice(server.url, server.token, "pi-1").enrol()
            sender = connect_mqtt(BrokerAccess("127.0.0.1", broker), "sender")
            for number in range(60):
                if number == 20:
                    own_postgres.kill()
                sender.publish(routes.telemetry_topic("pi-1"), batch("pi-1", number), 1).wait_for_publish(LONG_S)
            sender.disconnect()
            sender.loop_stop()
            own_postgres.start()
            until(lambda: stored(db) == 60)
        finally:
            assert server.stop() == 0
    assert "a fault" not in server.log.read_text()


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_devices_at_the_broker_are_told_by_whoever_leads(site: Path, broker: int) -> None:
    options = ("--broker", f"mqtt://127.0.0.1:{broker}")
    one, two = Server(site, *options).start(), Server(replica(site, "two"), *options).start()
    try:
        until(lambda: leads(one) or leads(two))
        one, two = (one, two) if leads(one) else (two, one)
        device = SimulatedDevice(two.url, two.token, "pi-1", mqtt=True).start()
        for leader_is_there, release in ((True, "digits@1"), (False, "digits@2")):
            if not leader_is_there:
                one.stop(signal.SIGKILL)
                until(lambda: leads(two) and health(two).broker == "connected")
            client = Client(two.url, two.operator)  # the one that doesn't lead at first: the leader finds it out
            client.post("/v1/devices/pi-1/assign", AssignRequest(release), AssignReply)
            version = release[-1]
            until(lambda version=version: device.slots.get("digits") and device.slots["digits"].version == version)
        until(lambda: client.get("/v1/devices/pi-1", DeviceDetail).device.slots[0].version == "2")
        device.stop()
    finally:
        one.stop(signal.SIGKILL)
        assert two.stop() == 0


def stored(db: Database) -> int:
    """How many of the sender's items are there: a second copy would be one more."""
    with db.read() as session:
        query = sa.select(sa.func.count()).select_from(TelemetryNoteRow).filter_by(device="pi-1", kind="event")
        return session.scalar(query) or 0


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("mqtt://b.farm", "b.farm", 1883, False),
        ("mqtts://b.farm", "b.farm", 8883, True),
        ("mqtts://ann:x@b.farm:99?ca={ca}", "b.farm", 99, True),
    ],
)
def test_a_broker_by_its_url(text: str, host: str, port: int, tls: bool) -> None:
    found = parse_broker(text.format(ca=__file__))
    assert (found.host, found.port, found.tls) == (host, port, tls)
    assert found.ca == (__file__ if "ca=" in text else "")


@pytest.mark.parametrize(
    "text", ["mqtt://b?ca=/x", "mqtts://b?key=/x", "mqtts://b?ca", "ws://b", "mqtts://ann:geheim@b/x"]
)
def test_a_broker_that_is_none(text: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_broker(text)
    assert "geheim" not in str(refused.value)


def test_certificates_that_are_not_there() -> None:
    with pytest.raises(DeviceError) as refused:
        parse_broker("mqtts://b.farm?ca=/nowhere.pem")
    assert refused.value.code == "bad-config" and "/nowhere.pem" in refused.value.message
