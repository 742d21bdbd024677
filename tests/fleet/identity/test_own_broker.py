"""A mosquitto of the user's own, set up by `edgelift broker config`: devices come by certificate, and nobody else does."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.brokers import OwnBroker, by_certificate
from tests.fleet.identity.sites import enroll, link, make_token, operator, secure
from tests.simulators.certificates import make_certificate
from tests.simulators.device import Device

from edgelift_fleet.messages import IdentityEnded, ServerHealth
from edgelift_fleet.mqtt.probe import connect_packet
from edgelift_fleet.testing import wait_until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]


@pytest.fixture
def broker(site: Path, tmp_path: Path, mosquitto_program: str) -> Iterator[OwnBroker]:
    secure(site)
    made = OwnBroker(mosquitto_program, site, tmp_path / "own")
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def server(site: Path, broker: OwnBroker) -> Iterator[Server]:
    with Server(site, "--broker", f"mqtts://localhost:{broker.port}") as made:
        yield made


@pytest.fixture
def device(server: Server, tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path / "pi-1", server.url, "none") as made:
        yield made


def refused(broker: OwnBroker, certificate: Path | None) -> bool:
    """Does the broker end a connection that shows this before it says a word?"""
    tls = by_certificate(certificate, broker.folder / "authorities.pem")
    try:
        with socket.create_connection(("127.0.0.1", broker.port)) as wire, tls.wrap_socket(wire) as sock:
            sock.sendall(connect_packet("pi-1", "x"))
            return sock.recv(4) == b""
    except OSError:
        return True


def test_a_device_comes_by_its_certificate_and_goes_when_it_is_taken_out(
    broker: OwnBroker, server: Server, device: Device, tmp_path: Path
) -> None:
    wait_until(
        lambda: operator(server).get("/v1/health", ServerHealth).broker == "connected", what="the control plane"
    )
    assert enroll(device, make_token(server)).returncode == 0
    device.start()
    wait_until(lambda: link(server) == "mqtt", what="the device, over MQTT")

    stranger = make_certificate(tmp_path / "strangers")
    both = tmp_path / "stranger.pem"
    both.write_bytes(stranger.path.read_bytes() + stranger.key.read_bytes())
    own = device.state / "identity" / "device.pem"
    assert refused(broker, None) and refused(broker, both) and not refused(broker, own)
    wait_until(lambda: link(server) == "mqtt", what="it again, whose name was used just now")

    operator(server).post("/v1/devices/pi-1/remove", {}, IdentityEnded)
    broker.write()
    broker.reload()
    wait_until(lambda: refused(broker, own), what="its certificate to open nothing")
    # Whoever ended its session, the host or the question just now, whose name was its own: it is gone, and can't come back.
    wait_until(lambda: not link(server), what="it to be gone")


def test_the_folder_is_written_again_as_before(broker: OwnBroker, tmp_path: Path) -> None:
    before = (broker.folder / "mosquitto.conf").read_text()
    done = edgelift("broker", "config", broker.folder, "--site", broker.site, "--json")
    assert json.loads(done.stdout)["names"] == ["localhost", "127.0.0.1"]
    assert (broker.folder / "mosquitto.conf").read_text() == before
    assert {one.stat().st_mode & 0o077 for one in broker.folder.iterdir() if one.is_file()} == {0}
    readme = (broker.folder / "README").read_text()
    assert f"mqtts://localhost:{broker.port}" in readme and str(broker.folder) in readme


@pytest.mark.parametrize(
    ("options", "code"),
    [((), "malformed"), (("--name", "a b"), "malformed"), (("--name", "x", "--at", "/a\nb"), "malformed")],
)
def test_odd_folders_are_refused(site: Path, tmp_path: Path, options: tuple[str, ...], code: str) -> None:
    done = edgelift("broker", "config", tmp_path / "new", "--site", site, *options)
    assert done.returncode == 1 and f"({code})" in done.stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    done = edgelift("broker", "config", tmp_path / "other", "--site", site, "--name", "x")
    assert done.returncode == 1 and "(conflict)" in done.stderr
