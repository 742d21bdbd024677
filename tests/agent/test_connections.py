"""What clients may take of the servers: places, bytes and patience; and a stop that is over when its time is."""

import contextlib
import logging
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.simulators.device import Device
from tests.simulators.server import GOOD, PATH, PATIENCE_S, Client, GatedModel, request
from tests.waiting import LONG_S
from tests.waiting import until as wait_until

from edgelift_agent.serving.bodies import largest_body
from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.serving.inference import Inference
from edgelift_agent.serving.server import Server
from edgelift_agent.serving.slots import Slots, make_generation
from edgelift_agent.system.connections import Bounds
from edgelift_agent.system.quiet_log import QuietLog
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.manifest import parse_manifest


class Serving(NamedTuple):
    port: int
    model: GatedModel
    inference: Inference


@contextlib.contextmanager
def serving(**options) -> Iterator[Serving]:
    """A server of one gated model, run by one thread, with all the patience that `options` don't take from it."""
    slots, model = Slots(), GatedModel()
    wanted, blobs = toy_artifact("1", ToyModelFile())
    manifest = parse_manifest(blobs[wanted.artifact])
    slots.make("toy").swap(make_generation("toy", 1, wanted.artifact, manifest, model, 0.0))
    inference = Inference(slots, LatencyRecorder(0.0), workers=1, limit=1000)
    patience = dict.fromkeys(("keep_alive_s", "request_timeout_s", "answer_timeout_s"), PATIENCE_S)
    app = InferenceApp(inference, max_body_bytes=1 << 20)
    server = Server(app, host="127.0.0.1", port=0, **{**patience, **options})
    server.start()
    try:
        yield Serving(server.port, model, inference)
    finally:
        model.gate.set()
        server.stop(0.2)
        inference.close()


def is_closed(sock: socket.socket) -> bool:
    """Waits until the server ends the connection."""
    sock.settimeout(LONG_S)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


HEAD = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n".encode()

HALF = {
    "silence": b"",
    "half a request line": b"POST /v2",
    "half a head": HEAD,
    "half a body": HEAD + b"\r\n{",
    "half a chunk": f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{{".encode(),
    "another route": b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("what", HALF)
def test_who_does_not_go_on_is_cut(what: str) -> None:
    with (
        serving(keep_alive_s=1.0, request_timeout_s=1.0) as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
    ):
        sock.sendall(HALF[what])
        assert is_closed(sock)


def test_a_request_that_trickles_has_an_end() -> None:
    with (
        serving(request_timeout_s=1.0) as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
    ):
        sock.sendall(HEAD + b"\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(600):  # a byte every tenth of a second would last ten seconds
                sock.sendall(b" ")
                time.sleep(0.1)
                sock.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1):
                        break
                sock.settimeout(LONG_S)
            else:
                pytest.fail("it was never cut")


def test_newcomers_take_the_place_of_those_who_wait_longest() -> None:
    with (
        serving(max_connections=8, keep_alive_s=PATIENCE_S) as server,
        contextlib.ExitStack() as stack,
    ):
        used = stack.enter_context(Client(server.port))
        idle = []
        for _ in range(40):
            idle.append(stack.enter_context(Client(server.port)))
            assert used.ask(request())[0] == 200
        for client in idle[:30]:
            assert is_closed(client.sock)
        assert idle[-1].ask(request())[0] == 200


def test_who_is_owed_an_answer_keeps_its_place_and_the_newcomer_is_told() -> None:
    with serving(max_connections=8) as server, contextlib.ExitStack() as stack:
        server.model.gate.clear()
        busy = [stack.enter_context(Client(server.port)) for _ in range(8)]
        for client in busy:
            client.send(request())
        wait_until(lambda: server.inference.pending == 8)
        with Client(server.port) as newcomer:
            assert newcomer.answer()[0] == 503
            assert is_closed(newcomer.sock)
        server.model.gate.set()
        assert busy[0].answer()[0] == 200


def test_the_limit_stays_below_the_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
        assert Bounds(connections=5000).places() == 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_does_not_take_its_answers_is_cut() -> None:
    big = b'{"id":"' + b"x" * 30_000 + b'",' + GOOD[1:]
    with (
        serving(answer_timeout_s=1.0, keep_alive_s=PATIENCE_S) as server,
        socket.create_connection(("127.0.0.1", server.port)) as greedy,
    ):
        greedy.setblocking(False)
        rest = b""

        def cut() -> bool:
            nonlocal rest
            try:
                for _ in range(3000):  # many times what all buffers on the way hold
                    rest = rest or request(big)
                    rest = rest[greedy.send(rest) :]
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            pytest.fail("it is read without end")

        wait_until(cut)


def test_a_body_larger_than_the_model_can_need_is_refused_before_it_is_read() -> None:
    wanted, blobs = toy_artifact("1", ToyModelFile())
    manifest = parse_manifest(blobs[wanted.artifact])
    limit = largest_body(manifest, 1 << 20)
    assert largest_body(manifest, 100) == 100
    with serving() as server, Client(server.port) as client:
        client.send(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
        status, _, message = client.answer()
        assert status == 413
        assert str(limit) in message["error"]


def test_a_request_whose_client_has_gone_is_not_run() -> None:
    with serving() as server:
        server.model.gate.clear()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server.port)) for _ in range(20)]
            for client in clients:
                client.send(request())
            wait_until(lambda: server.inference.pending == 20 and server.model.runs == 1)
        # All have gone; what runs goes on, what waits does not begin.
        wait_until(lambda: server.inference.pending == 0)
        server.model.gate.set()
        with Client(server.port) as last:
            assert last.ask(request())[0] == 200
        assert server.model.runs == 2


def test_a_request_whose_deadline_has_passed_is_not_run() -> None:
    with serving() as server, contextlib.ExitStack() as stack:
        first, late, patient = (stack.enter_context(Client(server.port)) for _ in range(3))
        server.model.gate.clear()
        first.send(request())
        wait_until(lambda: server.model.runs == 1)
        late.send(request(GOOD[:-1] + b',"parameters":{"timeout":1000}}'))
        wait_until(lambda: server.inference.pending == 2)
        time.sleep(0.002)  # its millisecond is over
        server.model.gate.set()
        assert late.answer()[0] == 504
        assert server.model.runs == 1
        assert patient.ask(request(GOOD[:-1] + b',"parameters":{"timeout":600000000}}'))[0] == 200


@pytest.mark.parametrize("what", HALF)
def test_a_stop_does_not_wait_for_a_hung_client(what: str, device: Device, host: ToyHost) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start()
    wait_until(lambda: device.answer() == 1)
    with socket.create_connection(("127.0.0.1", device.port)) as hung:
        hung.sendall(HALF[what])
        with Client(device.port) as other:
            other.send(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert other.answer()[0] == 200  # so the hung one's bytes have been read
        assert device.stop() == 0
        assert is_closed(hung)
    assert "did not end within" not in device.log.read_text()  # as it said while the hung one was waited for


def test_the_administrators_server_is_bounded_too(device: Device) -> None:
    device.start()
    port = device.status()["admin_port"]
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
        with Client(port) as client:
            client.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            status, _, message = client.answer()
            assert (status, message["live"], message["degraded"]) == (200, True, [])
            client.send(b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            assert client.answer()[0] == 404
        assert is_closed(silent[0])
    assert device.status()["port"] == device.port


def test_a_flood_of_one_message_is_a_few_lines_and_a_count() -> None:
    now = [0.0]
    quiet = QuietLog(most=3, period_s=60, now=lambda: now[0])

    def record(text: str, *arguments: object, level: int = logging.WARNING) -> logging.LogRecord:
        return logging.LogRecord("a", level, "f", 1, text, arguments, None)

    assert [quiet.filter(record("no %s", n)) for n in range(5)] == [True, True, True, False, False]
    assert quiet.filter(record("another"))
    assert all(quiet.filter(record("told", level=logging.INFO)) for _ in range(50))
    now[0] = 61.0
    later = record("no %s", 9)
    assert quiet.filter(later)
    assert later.getMessage() == "no 9 (and 2 more like it since)"


def test_the_agents_command_has_a_quiet_log() -> None:
    code = (
        "import logging,sys\nfrom edgelift_agent.system.quiet_log import quieten\n"
        "logging.basicConfig(stream=sys.stderr)\nquieten()\n"
        "for n in range(40000): logging.getLogger('asyncio').error('Too many open files %d', n)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 0 < len(done.stderr.splitlines()) <= 10
