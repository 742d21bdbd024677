"""A device with a valid certificate that would read and write others' topics, at both brokers that know devices by those."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.fleet.conftest import Server
from tests.fleet.conftest import engine as engine
from tests.fleet.conftest import releases as releases
from tests.fleet.conftest import site as site
from tests.fleet.identity.brokers import Caller, OwnBroker, by_certificate
from tests.fleet.identity.sites import enroll, link, make_token, operator, secure
from tests.fleet.identity.test_doors import publish, tried
from tests.simulators.device import Device

from edgelift_agent.identity.keys import new_key, request_for
from edgelift_contract import routes
from edgelift_fleet.db import Database
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.identity.tls import ServerTls
from edgelift_fleet.messages import AssignReply, AssignRequest
from edgelift_fleet.mqtt.mosquitto import Broker, ByCertificate
from edgelift_fleet.site import Site, create_site, load_site
from edgelift_fleet.testing import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]

THIEF, NEIGHBOUR = "pi-1", "pi-2"
OTHERS = f"{routes.ROOT}/{NEIGHBOUR}"
READS = (
    "#", "+/#", "+/+/#", "edgelift/+/+/down/#", f"{routes.ROOT}/#", f"{routes.ROOT}/+/up/#", "$SYS/#", "$SYS/broker/+",
    f"{OTHERS}/#", f"{OTHERS}/down/#", f"{OTHERS}/down/desired", f"{OTHERS}/up/reported", "$share/g/#",
    f"$share/g/{OTHERS}/down/#", f"$share/edgelift/{routes.telemetry_filter()}",
)  # fmt: skip
WRITES = (
    routes.reported_topic(NEIGHBOUR), routes.state_topic(NEIGHBOUR), routes.telemetry_topic(NEIGHBOUR),
    routes.desired_topic(NEIGHBOUR), routes.bundle_topic(NEIGHBOUR), routes.desired_topic(THIEF),
    routes.bundle_topic(THIEF), f"{routes.ROOT}/{THIEF}/up/more", f"{routes.ROOT}/{THIEF}/up/reported/more",
    f"{routes.ROOT}/_host/up/reported", "$SYS/broker/uptime",
)  # fmt: skip


@dataclass
class Scene:
    """A broker, and whoever may come to it."""

    port: int
    folder: Path
    identities: Identities

    def tls(self, name: str) -> ssl.SSLContext:
        """As a device, by a certificate that it could have; or as the control plane."""
        authority, key = self.identities.authority, new_key()
        if name.startswith("_"):
            made, key = authority.issue_own(name, (), time.time(), client=True)
        else:
            made = authority.issue_device(name, request_for(name, key), time.time())
        (self.folder / f"{name}.pem").write_bytes(made.pem.encode() + key)
        (self.folder / "authority.pem").write_text(authority.certificate)
        return by_certificate(self.folder / f"{name}.pem", self.folder / "authority.pem")

    @contextmanager
    def caller(self, name: str, as_id: str = "", *, will: str = "") -> Iterator[Caller]:
        made = Caller(self.port, self.tls(name), as_id or name, will=will)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def started(kind: str, made: Site, identities: Identities, program: str, folder: Path) -> Iterator[int]:
    """What `edgelift serve` starts, or what `edgelift broker config` sets up; gives the port."""
    if kind == "own":
        own = OwnBroker(program, made.folder, folder / "own")
        try:
            yield own.port
        finally:
            own.stop()
        return
    secured = ByCertificate(identities, ServerTls(identities, made.run, ["127.0.0.1"]).file, alone=True)
    with Broker(
        program, made.run / "broker", host="127.0.0.1", port=0, key="k", users=[], secured=secured
    ) as broker:
        yield broker.tls_port


@pytest.fixture(params=["serve", "own"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, mosquitto_program: str) -> Iterator[Scene]:
    made, _ = create_site(tmp_path / "site")
    secure(made.folder)
    with closing(Database(made.database)) as db:
        db.migrate()
        identities = Identities(load_site(made.folder), db)
        with started(request.param, made, identities, mosquitto_program, tmp_path) as port:
            yield Scene(port, tmp_path, identities)


def test_it_reads_what_is_its_own_alone(scene: Scene) -> None:
    with scene.caller("_host") as host, scene.caller(NEIGHBOUR) as neighbour, scene.caller(THIEF) as thief:
        neighbour.publish(routes.reported_topic(NEIGHBOUR), b"secret", retain=True)
        host.publish(routes.desired_topic(NEIGHBOUR), b"secret", retain=True)
        for topic in (*READS, routes.desired_topic(THIEF)):
            thief.subscribe(topic)
        neighbour.publish(routes.telemetry_topic(NEIGHBOUR), b"secret")
        host.publish(routes.desired_topic(NEIGHBOUR), b"secret too", retain=True)
        host.publish(routes.desired_topic(THIEF), b"its own", retain=True)
        wait_until(lambda: thief.messages, what="what is its own")
        assert set(thief.messages) == {(routes.desired_topic(THIEF), b"its own")}


def test_it_writes_what_is_its_own_alone(scene: Scene) -> None:
    with scene.caller("_host") as host, scene.caller(NEIGHBOUR) as neighbour, scene.caller(THIEF) as thief:
        neighbour.publish(routes.reported_topic(NEIGHBOUR), b"honest", retain=True)
        host.publish(routes.desired_topic(NEIGHBOUR), b"honest", retain=True)
        assert host.subscribe(f"{routes.ROOT}/#") and neighbour.subscribe(f"{OTHERS}/down/#")
        wait_until(lambda: len(host.messages) == 2 and neighbour.messages, what="what is retained")
        for topic in WRITES:
            for data in (b"forged", b""):
                thief.publish(topic, data)
                thief.publish(topic, data, retain=True)
        thief.publish(routes.telemetry_topic(THIEF), b"its own")
        wait_until(lambda: len(host.messages) > 2, what="what is its own")
        assert host.messages[2:] == [(routes.telemetry_topic(THIEF), b"its own")]
        host.publish(routes.desired_topic(NEIGHBOUR), b"next", retain=True)
        wait_until(lambda: len(neighbour.messages) > 1, what="the neighbour's next")
        assert [data for _, data in neighbour.messages] == [b"honest", b"next"]


def test_another_name_is_of_no_use(scene: Scene) -> None:
    with scene.caller("_host") as host, scene.caller(NEIGHBOUR) as neighbour:
        assert neighbour.subscribe(f"{OTHERS}/down/#")
        for count, name in enumerate((NEIGHBOUR, "_host", "_probe", "edgelift-host-site"), 1):
            with scene.caller(THIEF, name) as thief:
                thief.subscribe(f"{OTHERS}/down/#")
                thief.subscribe(routes.desired_topic(THIEF))
                host.publish(routes.desired_topic(NEIGHBOUR), b"secret")
                host.publish(routes.desired_topic(THIEF), b"its own")
                wait_until(partial(each_has_its_own, thief, neighbour, count), what="each its own")
                assert thief.messages == [(routes.desired_topic(THIEF), b"its own")]
        assert not neighbour.gone and not host.gone


def each_has_its_own(thief: Caller, neighbour: Caller, count: int) -> bool:
    return bool(thief.messages) and len(neighbour.messages) == count


def test_a_will_on_the_neighbours_topic_is_none(scene: Scene) -> None:
    with scene.caller("_host") as host:
        assert host.subscribe(f"{routes.ROOT}/#")
        with (
            scene.caller(THIEF, will=routes.state_topic(NEIGHBOUR)),
            scene.caller(THIEF) as again,  # which ends the first, as if its power had been cut
        ):
            again.publish(routes.telemetry_topic(THIEF), b"its own")
            wait_until(lambda: host.messages, what="what is its own")
            assert host.messages == [(routes.telemetry_topic(THIEF), b"its own")]


def test_the_neighbour_updates_on_beside_it(
    site: Path, releases: dict[str, Path], tmp_path: Path, mosquitto_program: str
) -> None:
    secure(site)
    server = Server(site).start()
    devices = {name: Device(tmp_path / name, server.url, "none", name=name) for name in (THIEF, NEIGHBOUR)}
    try:
        for one in devices.values():
            assert enroll(one, make_token(server)).returncode == 0
        devices[NEIGHBOUR].start()
        wait_until(lambda: link(server, NEIGHBOUR) == "mqtt", what="the neighbour, over MQTT")
        pem = devices[THIEF].state / "identity" / "device.pem"
        port = int((site / "run" / "broker" / "tls-port").read_text())
        tls = by_certificate(pem, site / "secrets" / "authority")
        thief = Caller(port, tls, NEIGHBOUR, will=routes.state_topic(NEIGHBOUR))
        try:
            for topic in READS:
                thief.subscribe(topic)
            for topic in WRITES:
                thief.publish(topic, b"", retain=True)
            publish(server, releases["digits@1"])
            operator(server).post(f"/v1/devices/{NEIGHBOUR}/assign", AssignRequest("digits@1"), AssignReply)
            wait_until(lambda: tried(server, NEIGHBOUR) == "digits@1", what="digits@1 to be fetched and tried")
            assert not thief.messages and link(server, NEIGHBOUR) == "mqtt"
        finally:
            thief.close()
    finally:
        devices[NEIGHBOUR].stop()
        server.stop()
