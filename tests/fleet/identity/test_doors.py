"""A site whose devices have certificates, and real agents: who gets in over HTTPS and MQTT, and who is put out."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import another_pin, as_device, enroll, link, make_token, operator, secure
from tests.simulators.device import Device

from edgelift_agent.config import load_config
from edgelift_agent.doctor import RunningAgent, check_certificate, check_clock, check_host
from edgelift_fleet.messages import (
    AssignReply,
    AssignRequest,
    DeviceDetail,
    IdentityEnded,
    TokenView,
)
from edgelift_fleet.testing import wait_until

pytestmark = pytest.mark.fleet


@pytest.fixture
def server(site: Path, mosquitto_program: str) -> Iterator[Server]:
    secure(site)
    with Server(site) as made:
        yield made


@pytest.fixture
def device(server: Server, tmp_path: Path) -> Iterator[Device]:
    with Device(tmp_path / "pi-1", server.url, "none") as made:
        yield made


def detail(server: Server, name: str = "pi-1") -> DeviceDetail:
    return operator(server).get(f"/v1/devices/{name}", DeviceDetail)


def tried(server: Server, name: str = "pi-1") -> str:
    """The release that the device fetched last; nothing on it can load these."""
    update = next((one.update for one in detail(server, name).device.slots if one.slot == "digits"), None)
    return f"{update.model}@{update.version}" if update is not None and update.code == "load-failed" else ""


def authorities(server: Server) -> Path:
    return server.site / "secrets" / "authority"


def test_a_device_enrols_takes_releases_and_is_put_out(
    server: Server, device: Device, releases: dict[str, Path], tmp_path: Path
) -> None:
    assert server.url.startswith("https://")
    token = make_token(server, uses=2, tags={"hall": "2"})
    done = enroll(device, token)
    assert done.returncode == 0, done.stderr
    kept = device.state / "identity"
    assert {path.name: path.stat().st_mode & 0o777 for path in kept.iterdir()} == {
        "device.pem": 0o600, "host.json": 0o600, "metrics.pem": 0o600,
    }  # fmt: skip
    device.start()
    wait_until(lambda: link(server) == "mqtt", what="the device, over MQTT")
    assert detail(server).device.tags == {"hall": "2"}
    known = detail(server).identity
    assert (
        known is not None and known.state == "valid" and known.shown_at and known.token and not known.contested_at
    )
    found = RunningAgent(load_config(device.config))
    identity = found.status["identity"]
    assert (
        identity["url"] == server.url
        and identity["until"] == known.not_after
        and len(identity["authorities"]) == 1
    )
    assert check_certificate(found).state == "ok" and check_host(load_config(device.config), found).state == "ok"
    assert check_clock(load_config(device.config), found).state == "ok"

    publish(server, releases["digits@1"])
    operator(server).post("/v1/devices/pi-1/assign", AssignRequest("digits@1"), AssignReply)
    wait_until(lambda: tried(server) == "digits@1", what="digits@1 to be fetched and tried")

    # It speaks for itself alone, and nobody speaks for it.
    session = as_device(device, authorities(server))
    own = session.get(f"{server.url}/v1/devices/pi-1/desired")
    assert own.status_code == 200
    other = session.get(f"{server.url}/v1/devices/pi-2/desired")
    assert (other.status_code, other.json()["code"]) == (400, "wrong-device")
    shared = {"Authorization": f"Bearer {server.token}"}
    for headers in ({}, shared):
        nobody = requests.get(
            f"{server.url}/v1/devices/pi-1/desired", headers=headers, verify=str(authorities(server))
        )
        assert (nobody.status_code, nobody.json()["code"]) == (401, "not-authorised")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as plain:
        plain.sendall(b"GET /v1/authority HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100) == b""

    # Put out: its connections end, over both links, and it does not come back; what it serves goes on.
    ended = operator(server).post("/v1/devices/pi-1/remove", {}, IdentityEnded)
    assert ended.ended == 1
    shown = edgelift("device", "show", "pi-1", "--site", server.site)
    assert "was taken back: the device was removed" in shown.stdout, shown.stdout
    wait_until(lambda: "identity-revoked" in device.log.read_text(), what="the device to be told")
    wait_until(lambda: not link(server), what="it to be gone")
    gone = as_device(device, authorities(server)).get(f"{server.url}/v1/devices/pi-1/desired")
    assert (gone.status_code, gone.json()["code"]) == (403, "identity-revoked")
    again = enroll(device, token, "--again")
    assert again.returncode == 1 and "identity-revoked" in again.stderr

    # Another board in its place, under its name.
    operator(server).post("/v1/devices/pi-1/replace", {}, IdentityEnded)
    device.stop()
    shutil.rmtree(device.state)
    done = enroll(device, token)
    assert done.returncode == 0, done.stderr
    device.start()
    wait_until(lambda: link(server), what="the new board")


def publish(server: Server, folder: Path) -> None:
    from edgelift.sending import send_release

    send_release(operator(server), folder, lambda *_: None)


def test_a_wrong_token_enrols_nobody(server: Server, device: Device) -> None:
    token = make_token(server)
    for given, code in (
        (another_pin(token), "tls-failed"), ("", "malformed"), (server.token, "malformed"), (token[:-3], "malformed"),
    ):  # fmt: skip
        done = enroll(device, given)
        assert done.returncode == 1 and f"({code})" in done.stderr, done.stderr
        assert not (device.state / "identity" / "device.pem").exists()
    (view,) = operator(server).get("/v1/tokens", list[TokenView])
    assert view.used == 0
    assert enroll(device, token).returncode == 0
    second = enroll(device, token)
    assert second.returncode == 1 and "(conflict)" in second.stderr
    spent = Device(device.folder.parent / "pi-2", server.url, "none", name="pi-2")
    done = enroll(spent, token)
    assert done.returncode == 1 and "(token-spent)" in done.stderr


def test_a_device_of_an_older_site_moves_over_by_itself(
    site: Path, tmp_path: Path, mosquitto_program: str
) -> None:
    server = Server(site).start()
    device = Device(tmp_path / "pi-1", server.url, server.token)
    try:
        device.start()
        wait_until(lambda: link(server) == "mqtt", what="the device, as ever")
        port = server.url.rpartition(":")[2]
        server.stop()
        server = Server(site, "--tls-port", "0", "--port", port).start()
        assert server.info["tls_url"].startswith("https://")
        device.stop()
        device.start()
        wait_until(lambda: (device.state / "identity" / "device.pem").exists(), what="its certificate")
        shared = {"Authorization": f"Bearer {server.token}"}
        wait_until(
            lambda: requests.get(f"{server.url}/v1/devices/pi-1/desired", headers=shared).status_code == 409,
            what="the shared token to speak for it no more",
        )
        wait_until(lambda: link(server) == "mqtt", what="the device, over MQTT")
        device.stop()
        device.start()
        wait_until(lambda: link(server), what="it again, by its certificate")
    finally:
        device.stop()
        server.stop()
