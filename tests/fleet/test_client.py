"""The operators' client on real sockets: what it tries again, what never, whom it trusts, and what it says."""

import contextlib
import http.server
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_fleet.client import RETRY_DELAYS_S, Client
from edgelift_fleet.messages import RolloutRequest, RolloutSummary, RolloutView
from edgelift_fleet.testing import FleetSimulator
from tests.fleet.conftest import Server
from tests.simulators.certificates import make_certificate

pytestmark = pytest.mark.fleet


class Host:
    """A server on a free port that breaks off the first `broken` requests, then answers `[]`.

    A `late` one has its port, so that nobody else takes it, and refuses connections until it is activated.
    """

    def __init__(self, broken: int = 0, certificate: Path | None = None, *, late: bool = False) -> None:
        self.seen: list[tuple[str, str]] = []
        self.keys: list[str] = []
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.seen.append((self.command, self.headers.get("Authorization", "")))
                host.keys.append(self.headers.get("Idempotency-Key", ""))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if len(host.seen) <= broken:
                    self.connection.close()
                    return
                status = 302 if self.path == "/elsewhere" else 200
                self.send_response(status)
                self.send_header("Location", "/v1/x")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"[]")

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass  # a client that doesn't trust us, or a connection that this test broke

        self.server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.server.server_bind()
        if not late:
            self.server.server_activate()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Host":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_reading_is_tried_again_while_the_server_breaks_off() -> None:
    with Host(broken=2) as host:
        assert Client(host.url, "secret").get("/v1/x", list[int]) == []
    assert host.seen == [("GET", "Bearer secret")] * 3


def test_reading_is_given_up_after_its_last_try() -> None:
    with Host(broken=99) as host, pytest.raises(EdgeliftError) as failed:
        Client(host.url, "secret").get("/v1/x", list[int])
    assert failed.value.code == "unreachable" and len(host.seen) == len(RETRY_DELAYS_S) + 1


def test_a_command_that_may_have_been_carried_out_is_sent_again_under_its_key() -> None:
    with Host(broken=2) as host:
        client = Client(host.url, "secret")
        assert client.post("/v1/x", {}, list[int]) == [] and client.post("/v1/x", {}, list[int]) == []
    first, *again, other = host.keys
    assert len(first) == 32 and again == [first, first] and other != first


class Cut:
    """Stands between a client and a server, and breaks off the first answer: what was asked for is done by then."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._to, self.broken = (host, int(port)), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, server = self._listener.accept()[0], socket.create_connection(self._to)
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if not self.broken:
                    self.broken = len(data)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

    def __enter__(self) -> "Cut":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def test_a_rollout_whose_answer_was_lost_is_started_once(server: Server, fleet: FleetSimulator) -> None:
    fleet.add("pi-1")
    with Cut(server.url) as way:
        client = Client(way.url, server.operator)
        made = client.post("/v1/rollouts", RolloutRequest("digits@1", "all", ["100%"]), RolloutView)
    assert way.broken > 0
    listed = Client(server.url, server.operator).get("/v1/rollouts", list[RolloutSummary])
    assert [one.id for one in listed] == [made.id] == ["r1"]


def test_a_command_that_is_given_up_may_have_been_carried_out() -> None:
    with Host(broken=99) as host, pytest.raises(EdgeliftError) as failed:
        Client(host.url, "secret").post("/v1/x", {}, list[int])
    assert failed.value.code == "unreachable" and "may have been carried out" in failed.value.message


def test_a_command_waits_for_a_server_that_is_just_starting() -> None:
    """Refused connections carried nothing: the command is sent once somebody listens."""
    late = Host(late=True)
    client = Client(late.url, "secret")
    refused = threading.Event()
    send = client._send

    def watched(method: str, path: str, body: bytes | None, *, key: str) -> object:
        try:
            return send(method, path, body, key=key)
        except EdgeliftError:
            if not refused.is_set():
                late.server.server_activate()
                late.thread.start()
            refused.set()
            raise

    client._send = watched  # type: ignore[method-assign, assignment] # seen from inside
    try:
        assert client.post("/v1/x", {}, list[int]) == []
    finally:
        late.__exit__()
    assert refused.is_set() and len(late.seen) == 1


def test_a_redirect_is_not_followed() -> None:
    """It would carry the token to wherever it leads."""
    with Host() as host, pytest.raises(EdgeliftError) as failed:
        Client(host.url, "secret").get("/elsewhere", list[int])
    assert failed.value.code == "server-error" and "302" in failed.value.message
    assert len(host.seen) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server's own certificate and its key in one file."""
    made = tmp_path_factory.mktemp("ca") / "server.pem"
    files = make_certificate(made.parent)
    made.write_text(files.key.read_text() + files.path.read_text())
    shutil.copy(files.path, made.with_suffix(".crt"))
    return made


def test_https_with_a_ca_file_and_without(certificate: Path) -> None:
    with Host(certificate=certificate) as host:
        trusting = Client(host.url, "secret", ca_file=str(certificate.with_suffix(".crt")))
        assert trusting.get("/v1/x", list[int]) == []
        with pytest.raises(EdgeliftError) as failed:
            Client(host.url, "secret").get("/v1/x", list[int])
    assert failed.value.code == "tls-failed" and "EDGELIFT_CA_FILE" in failed.value.hint
    assert len(host.seen) == 1


def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError) as failed:
        Client("https://127.0.0.1:1", "secret", ca_file=str(tmp_path / "none.pem")).get("/v1/x", list[int])
    assert failed.value.code == "bad-config" and "none.pem" in failed.value.message
