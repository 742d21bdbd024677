"""A site signs anew what changed nothing only for who asks for that: by a poll as if nothing were held, or by a report."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import requests
from paho.mqtt.enums import CallbackAPIVersion
from tests.fleet.conftest import Server
from tests.fleet.trust.sites import sign
from tests.waiting import LONG_S
from tests.waiting import until as wait

from edgelift_contract import codec, routes
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.report import DeviceFacts, Report
from edgelift_contract.signed import NONCE_HEADER, SIGNED_MEDIA, is_signed, unpack_signed
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest
from edgelift_fleet.site import load_site

pytestmark = pytest.mark.fleet

FACTS = DeviceFacts(hardware_class="x86-64-avx2", accepts=["x86-64-avx2"], runtimes={"onnxruntime": "1.20.0"})


class Board:
    """A device without an agent, over both links."""

    def __init__(self, server: Server) -> None:
        self.server, self.sequence, self.heard = server, 0, list[bytes]()
        request = EnrolRequest(schema=1, device="pi-1", facts=FACTS)
        self.enrolled = codec.decode_json(self.ask("POST", routes.ENROL, request), EnrolReply, what="reply")
        access = self.enrolled.broker
        assert access is not None
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="pi-1")
        self.client.username_pw_set(access.username, access.password)
        self.client.on_message = lambda _client, _data, message: self.heard.append(message.payload)
        self.client.on_connect = lambda *_: self.client.subscribe(routes.desired_topic("pi-1"), 1)
        self.client.connect(access.host, access.port)
        self.client.loop_start()

    def ask(self, method: str, path: str, message: Any = None, **headers: str) -> bytes:
        self.answer = requests.request(
            method, self.server.url + path, data=codec.canonical_json(message) if message else None,
            headers={"Authorization": f"Bearer {self.server.token}", **headers}, timeout=LONG_S,
        )  # fmt: skip
        assert self.answer.ok, self.answer.text
        return self.answer.content

    def report(self, nonce: str, *, asks_fresh: bool = False) -> None:
        self.sequence += 1
        said = Report(
            schema=1, device="pi-1", epoch="e", sequence=self.sequence, at=1.0, agent_version="0.1.0",
            revision_seen=1, facts=FACTS, nonce=nonce, asks_fresh=asks_fresh,
        )  # fmt: skip
        self.ask("PUT", routes.report_path("pi-1"), said)

    def nonces(self) -> list[str]:
        """Of what was signed, each time anew; what is retained comes again with each connection."""
        return [nonce_of(data) for data in dict.fromkeys(self.heard) if is_signed(data)]


def nonce_of(data: bytes) -> str:
    return str(json.loads(unpack_signed(data, device="pi-1").files["director/timestamp.json"])["signed"]["nonce"])


@pytest.fixture
def board(site: Path, releases: dict[str, Path], mosquitto_program: str) -> Iterator[Board]:
    sign(load_site(site), releases.values())
    server = Server(site).start()
    made = Board(server)
    Client(server.url, server.operator).post("/v1/devices/pi-1/assign", AssignRequest("digits@1"), AssignReply)
    try:
        yield made
    finally:
        made.client.disconnect()
        made.client.loop_stop()
        server.stop()


def test_who_asks_for_a_fresh_signature_gets_one_and_nobody_else(board: Board) -> None:
    wait(lambda: board.heard)  # for who has told no nonce it is as it is
    board.report("a" * 32)
    board.report("b" * 32, asks_fresh=True)
    wait(lambda: board.nonces() == ["b" * 32])
    board.report("c" * 32)
    board.report("d" * 32, asks_fresh=True)
    wait(lambda: len(board.nonces()) == 2)
    assert board.nonces() == ["b" * 32, "d" * 32]
    path, e = f"{routes.desired_path('pi-1')}?wait_s=0", "e" * 32
    board.ask("GET", path, **{NONCE_HEADER: e, "If-None-Match": '"1"'})
    assert board.answer.status_code == 304
    signed = board.ask("GET", path, **{NONCE_HEADER: e})
    assert (board.answer.headers["Content-Type"], nonce_of(signed)) == (SIGNED_MEDIA, e)
