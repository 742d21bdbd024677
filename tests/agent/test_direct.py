"""The inference server's short way: the same answers as uvicorn's way, whatever the connection does."""

import json
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgelift_agent.serving.http import InferenceApp, inference_target
from edgelift_agent.serving.inference import Inference
from edgelift_agent.serving.server import Server
from edgelift_agent.serving.slots import Generation, Slots
from edgelift_agent.telemetry.latency import GenerationKey, LatencyRecorder
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.manifest import parse_manifest

PATH = "/v2/models/toy/infer"
GOOD = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()


class Site:
    """A server, and how many requests it answered at once."""

    def __init__(self, *, keep_alive_s: int = 5, max_body_bytes: int = 4096) -> None:
        self.slots = Slots()
        self.slot = self.slots.make("toy")
        self.recorder = LatencyRecorder(0.0)
        self.inference = Inference(self.slots, self.recorder, inline_below_us=1e5)  # however busy the machine
        app = InferenceApp(self.inference, max_body_bytes=max_body_bytes)
        self.direct, answer = 0, app.at_once

        def counted(*request):
            reply = answer(*request)
            self.direct += reply is not None
            return reply

        app.at_once = counted
        self.server = Server(app, host="127.0.0.1", port=0, keep_alive_s=keep_alive_s)
        self.server.start()

    def load(self, file: ToyModelFile, number: int = 1) -> Generation:
        wanted, blobs = toy_artifact("1", file)
        key = GenerationKey("toy", number, wanted.artifact, "toy", "1")
        made = Generation(key, parse_manifest(blobs[wanted.artifact]), ToyModel(file, ["x"], ["y"]), 0.0)
        self.slot.swap(made)
        return made

    def stop(self) -> None:
        self.server.stop()
        self.inference.close()

    def connect(self) -> "Client":
        return Client(self.server.port)


class Client:
    """One connection, read in order however much is sent ahead."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> str:
        """The next line; empty when the server has closed."""
        return self._file.readline().decode().strip()

    def answer(self) -> tuple[int, dict[str, str], object]:
        """Status, headers but for `connection`, and the body as JSON."""
        status = int(self.line().split()[1])
        headers = dict(line.split(": ", 1) for line in iter(self.line, ""))
        headers.pop("connection", None)
        body = self._file.read(int(headers["content-length"]))
        return status, headers, json.loads(body) if body and "json" in headers["content-type"] else body

    def ask(self, data: bytes) -> tuple[int, dict[str, str], object]:
        self.send(data)
        return self.answer()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.load(ToyModelFile())
    yield made
    made.stop()


def request(body: bytes = GOOD, path: str = PATH, extra: str = "", version: str = "1.1") -> bytes:
    return f"POST {path} HTTP/{version}\r\nHost: a\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_both_ways_give_the_same_answer(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())  # the first one finds out how quick the model is
        assert site.direct == 0
        for body, path in [(GOOD, PATH), (GOOD, "/v2/models/toy/versions/1/infer"), (b"{", PATH),
                           (GOOD, "/v2/models/toy/versions/7/infer")]:  # fmt: skip
            before = site.direct
            short = client.ask(request(body, path))
            assert site.direct == before + 1
            with site.connect() as other:
                long_way = other.ask(request(body, path, "Connection: close\r\n"))
            assert site.direct == before + 1
            assert short == long_way
        assert short[0] == 404


def test_what_is_not_plain_goes_the_long_way_and_is_answered(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert client.ask(head + chunked)[0] == 200
        assert client.ask(request(path="/v2/models/to%79/infer"))[0] == 200
        assert client.ask(request(path=f"{PATH}?x=1"))[0] == 200
        assert client.ask(request(GOOD + b" " * 5000))[0] == 413
    with site.connect() as client:
        client.send(request(extra="Expect: 100-continue\r\n")[: -len(GOOD)])
        assert (client.line(), client.line()) == ("HTTP/1.1 100 Continue", "")
        assert client.ask(GOOD)[0] == 200
    with site.connect() as client:
        assert client.ask(request(version="1.0", extra="Connection: keep-alive\r\n"))[0] == 200
        assert client.line() == ""  # a client of 1.0 would take silence for a body without end
    assert site.direct == 0


def test_requests_sent_ahead_are_answered_in_their_order(site: Site) -> None:
    bodies = [GOOD.replace(b"[1, 2", b"[%d, 2" % n) for n in range(6)]
    metadata = b"GET /v2/models/toy HTTP/1.1\r\nHost: a\r\n\r\n"
    with site.connect() as client:
        client.ask(request())
        client.send(b"".join([request(bodies[0]), request(bodies[1]), metadata, *map(request, bodies[2:])]))
        got = [client.answer()[2] for _ in range(7)]
    assert got.pop(2)["name"] == "toy"
    assert [message["outputs"][0]["data"][0] for message in got] == [0, 1, 2, 3, 4, 5]
    assert site.direct >= 2


def test_a_request_in_small_pieces_is_one_request(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        for piece in range(0, len(request()), 7):
            client.send(request()[piece : piece + 7])
            time.sleep(0.001)
        assert client.answer()[0] == 200
    assert site.direct == 1


def test_a_request_half_read_at_the_stop_is_still_answered(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        client.send(request()[:-10])
        time.sleep(0.1)
        stopping = threading.Thread(target=site.server.stop)
        stopping.start()
        time.sleep(0.2)
        assert client.ask(request()[-10:])[0] == 200
        stopping.join(10)
        assert not stopping.is_alive()


def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    site = Site(keep_alive_s=2)
    try:
        site.load(ToyModelFile())
        with site.connect() as used, site.connect() as left:
            left.ask(request())
            left.ask(request())
            for _ in range(12):
                last = time.monotonic()
                used.ask(request())
                time.sleep(0.25)
            assert site.direct >= 12
            assert left.line() == ""
            assert used.line() == ""
            assert time.monotonic() - last >= 2
    finally:
        site.stop()


def test_a_slow_model_does_not_hold_up_a_health_check(site: Site) -> None:
    site.load(ToyModelFile(delay_ms=2000))
    with site.connect() as slow, site.connect() as health:
        slow.ask(request())
        slow.send(request())
        time.sleep(0.05)
        health.send(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        assert health.answer()[0] == 200
        assert not select.select([slow.sock], [], [], 0)[0], "the slow one was answered first"
        assert slow.answer()[0] == 200
    assert site.direct == 0


def test_a_request_at_a_parked_slot_waits_for_the_new_model(site: Site) -> None:
    with site.connect() as client:
        client.ask(request())
        client.ask(request())
        site.slot.park()
        client.send(request())
        time.sleep(0.1)
        site.load(ToyModelFile(scale=2), number=2)
        message = client.answer()[2]
    assert (message["model_version"], message["outputs"][0]["data"]) == ("2", [2, 4, 6, 8])


def test_a_fault_of_ours_is_a_500_and_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with site.connect() as client:
        client.ask(request())
        site.recorder.record = None  # type: ignore[assignment] # such faults should not exist; they do
        site.inference.recorder.record_error = None  # type: ignore[assignment] # as above
        with caplog.at_level(logging.ERROR):
            client.send(request())
            assert client.answer()[0] == 500
    assert "Exception in ASGI application" in caplog.text


def test_a_client_that_does_not_read_its_answers_stops_being_read(site: Site) -> None:
    """Back-pressure: else the answers would pile up in memory."""
    big = json.dumps({"id": "x" * 3000, **json.loads(GOOD)}).encode()
    with site.connect() as greedy:
        greedy.ask(request(big))
        greedy.sock.settimeout(1.0)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                greedy.send(request(big))
                sent += len(big)
        with site.connect() as other:
            assert other.ask(request())[0] == 200
    assert site.direct > 10


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/v2/models/m/infer", ("m", "")),
        (b"/v2/models/m/versions/3/infer", ("m", "3")),
        (b"/v1/models/m/infer", None),
        (b"/v2/models/m/infer/more", None),
        (b"/v2/models/m%2F/infer", None),
        (b"/v2/models/m/infer?x", None),
        (b"/v2/models/\xc3\xa9/infer", None),
        (b"*", None),
    ],
)
def test_paths_of_inferences(path: bytes, target: tuple[str, str] | None) -> None:
    assert inference_target(path) == target
