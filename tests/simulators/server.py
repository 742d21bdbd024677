"""An inference server in this process, a model that waits, and a client that reads one connection in order."""

import json
import math
import socket
import threading

from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.serving.inference import Inference
from edgelift_agent.serving.server import Server
from edgelift_agent.serving.slots import Generation, Slots
from edgelift_agent.telemetry.latency import GenerationKey, LatencyRecorder
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.manifest import parse_manifest
from tests.waiting import LONG_S

PATH = "/v2/models/toy/infer"
GOOD = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()


#: An hour: what a test is not about does not run out while it waits for its turn on a busy machine.
PATIENCE_S = 3600.0


class GatedModel(ToyModel):
    """Counts its runs; each waits until `gate` is open, as it is at first."""

    def __init__(self) -> None:
        super().__init__(ToyModelFile(), ["x"], ["y"])
        self.runs = 0
        self.gate = threading.Event()
        self.gate.set()

    def run(self, inputs, outputs=None):
        self.runs += 1
        self.gate.wait()
        return super().run(inputs, outputs)


class Site:
    """A server, and how many requests it answered at once."""

    def __init__(self, *, inline_below_us: float = math.inf) -> None:
        self.slots = Slots()
        self.slot = self.slots.make("toy")
        self.recorder = LatencyRecorder(0.0)
        # Whether a model is quick is measured, and on a busy machine any may seem slow: here all count as quick.
        self.inference = Inference(self.slots, self.recorder, inline_below_us=inline_below_us)
        app = InferenceApp(self.inference, max_body_bytes=4096)
        self.direct, answer = 0, app.at_once

        def counted(*request):
            reply = answer(*request)
            self.direct += reply is not None
            return reply

        app.at_once = counted
        self.server = Server(
            app, host="127.0.0.1", port=0,
            keep_alive_s=PATIENCE_S, request_timeout_s=PATIENCE_S, answer_timeout_s=PATIENCE_S,
        )  # fmt: skip
        self.server.start()

    def load(self, file: ToyModelFile, number: int = 1, model: ToyModel | None = None) -> Generation:
        wanted, blobs = toy_artifact("1", file)
        key = GenerationKey("toy", number, wanted.artifact, "toy", "1")
        made = Generation(key, parse_manifest(blobs[wanted.artifact]), model or ToyModel(file, ["x"], ["y"]), 0.0)
        self.slot.swap(made)
        return made

    def stop(self) -> None:
        self.server.stop()
        self.inference.close()

    def looks_around(self) -> None:
        """Returns once the server has taken in all that was sent to it before."""
        with self.connect() as other:
            for _ in range(3):  # what is ready when one answer is made is read at the latest with the next
                assert other.ask(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200

    def connect(self) -> "Client":
        return Client(self.server.port)


class Client:
    """One connection, read in order however much is sent ahead."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
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


def request(body: bytes = GOOD, path: str = PATH, extra: str = "", version: str = "1.1") -> bytes:
    return f"POST {path} HTTP/{version}\r\nHost: a\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body
