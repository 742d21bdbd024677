"""A device with a certificate is to be brought back to plain HTTP; a site that wants certificates is asked in the clear."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.attacks.enrolled import DEVICE, OLD_TOKEN, Enrolled
from tests.attacks.false_host import FalseHost
from tests.attacks.who import SecureSite

from edgelift_agent.doctor import examine
from edgelift_agent.link.trial import try_host
from edgelift_agent.parts.host_link import broker_by
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.replies import MARK
from edgelift_fleet.identity.authority import Authority

pytestmark = pytest.mark.fleet


class Scene:
    """A device with a certificate; its control plane; and, where its configuration still says, somebody in the clear."""

    def __init__(self, folder: Path, plain: FalseHost) -> None:
        authority = Authority.make("farm", 1_800_000_000.0)
        self.plain, self.host = plain, FalseHost(folder, authority)
        self.host.answer = lambda _method, _path: (304, {MARK: "1"}, b"")
        self.device = Enrolled(folder, authority, plain.url, self.host.url)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with FalseHost() as plain:
        made = Scene(tmp_path, plain)
        with made.host:
            yield made


def goes_on(scene: Scene) -> None:
    """It calls its control plane over TLS, and nobody ever heard of it in the clear; no token was shown to anybody."""
    scene.device.http(scene.device.started()).poll(None, 0.0)
    assert scene.plain.heard == [] and OLD_TOKEN not in "".join(scene.host.heard)


def test_its_configuration_still_names_a_plain_host_and_the_old_token(scene: Scene) -> None:
    goes_on(scene)
    config, identity = scene.device.config(), scene.device.started()
    assert try_host(config, OLD_TOKEN, identity.way)["answers"]
    examine(config)  # the doctor, where no agent runs
    goes_on(scene)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(scene: Scene, status: int) -> None:
    scene.host.answer = lambda _method, path: (status, {"Location": scene.plain.url + path, MARK: "1"}, b"")
    http = scene.device.http(scene.device.started())
    batch = b'{"epoch": "e", "items": []}'
    asks: list[Callable[[], object]] = [lambda: http.poll(None, 0.0), lambda: http.send_batch(batch)]
    for ask in asks:
        with pytest.raises(EdgeliftError) as caught:
            ask()
        assert caught.value.code == "intercepted"
    scene.host.answer = lambda _method, _path: (304, {MARK: "1"}, b"")
    goes_on(scene)


@pytest.mark.parametrize("spoilt", ["host.json says http", "host.json is torn", "device.pem is torn"])
def test_a_damaged_identity_is_no_way_back(scene: Scene, spoilt: str) -> None:
    file = scene.device.state / "identity" / ("device.pem" if spoilt.startswith("device") else "host.json")
    good = file.read_bytes()
    said = {**json.loads(good), "url": scene.plain.url} if file.name == "host.json" else {}
    file.write_bytes(json.dumps(said).encode() if spoilt.endswith("http") else good[: len(good) // 2])
    identity = scene.device.started()
    with pytest.raises(EdgeliftError) as caught:
        scene.device.http(identity).poll(None, 0.0)
    assert caught.value.code == "state-damaged"
    assert [(one.part, one.code) for one in scene.device.degraded.reasons()] == [("certificate", "state-damaged")]
    trial = try_host(scene.device.config(), OLD_TOKEN, identity.way)
    assert not trial["answers"]
    examine(scene.device.config())
    assert scene.plain.heard == [] and scene.host.heard == []
    file.write_bytes(good)
    goes_on(scene)


def test_a_broker_in_the_clear_is_not_called(scene: Scene) -> None:
    way = scene.device.started().way()
    assert broker_by(way, BrokerAccess("127.0.0.1", 1883, DEVICE, "password", tls=False)) is None
    access = BrokerAccess("127.0.0.1", 8883, DEVICE, tls=True)
    assert broker_by(way, access) == access
    assert broker_by(None, BrokerAccess("127.0.0.1", 1883)) is not None  # who has no certificate goes on as ever


@pytest.mark.parametrize("asked", [b"GET /v1/authority", b"POST /v1/enroll", b"GET /v1/devices/pi-1/desired"])
def test_a_site_that_wants_certificates_answers_nothing_in_the_clear(secure: SecureSite, asked: bytes) -> None:
    board = secure.board(f"clear-{len(asked)}")
    port = int(secure.server.url.rpartition(":")[2])
    shared = (secure.server.site / "secrets" / "enrolment-token").read_bytes().strip()
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(asked + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + shared + b"\r\n\r\n")
        assert plain.recv(100) == b""
    said = secure.ask(board, "GET", f"/v1/devices/{board.name}/desired", bearer=shared.decode(), shown=False)
    assert (said.status, said.code) == (401, "not-authorised")  # nor by that token over TLS
    assert secure.poll(board).status == 304
