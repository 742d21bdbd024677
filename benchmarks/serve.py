"""What serving costs over the bare runtime: JSON, binary, UNIX socket, in-process lease; one run, interleaved.

`plain` is the yardstick: the least ASGI application that answers JSON (`plain_server`), in the same run. `…_one_core`
is client and server on one core, where no scheduler's choice comes between.
"""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from tests.simulators.device import Device
from tests.simulators.models import graph_cnn, publish_onnx

from benchmarks.common import arguments, show, write
from edgelift_agent.runtime.ort import OnnxRuntime
from edgelift_agent.serving.slots import Generation, Slot, make_generation
from edgelift_agent.testing.host import ToyHost

X = np.random.default_rng(0).random((1, 1, 24, 24), np.float32)
TURN = 25
PATH = "/v2/models/cnn/infer"


class Client:
    """One keep-alive connection; sends prepared bytes and reads a whole answer."""

    def __init__(self, sock: socket.socket, body: bytes, header_length: int | None) -> None:
        extra = "" if header_length is None else f"Inference-Header-Content-Length: {header_length}\r\n"
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.sock = sock

    def ask(self) -> None:
        self.sock.sendall(self.request)
        data = self._receive()
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data[:300])
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(rest) < length:
            rest += self._receive()

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def json_body() -> bytes:
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 24, 24], "data": X.ravel().tolist()}]}
    ).encode()


def binary_body() -> tuple[bytes, int]:
    raw = X.tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": [1, 1, 24, 24],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    return head + raw, len(head)


def tcp(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def interleaved(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, np.ndarray]:
    """Latencies of each way, microseconds, taken in turns so that the machine's mood hits all alike.

    A turn is `TURN` requests, the first of which are not counted: one client asks one server again and again,
    and none should pay for the caches that another way has just filled.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds // TURN):
        for name, way in ways.items():
            for _ in range(5):
                way()
            for _ in range(TURN):
                began = time.perf_counter()
                way()
                times[name].append((time.perf_counter() - began) * 1e6)
    return {name: np.array(taken) for name, taken in times.items()}


def lease_overhead_us(slot: Slot, rounds: int = 200_000) -> float:
    """What entering and leaving a lease costs, microseconds, the empty loop taken off."""
    began = time.perf_counter()
    for _ in range(rounds):
        with slot.lease():
            pass
    with_lease = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(rounds):
        pass
    return (with_lease - (time.perf_counter() - began)) / rounds * 1e6


def _many(port: int, body: bytes, seconds: float, out: object) -> None:
    count, until = 0, time.perf_counter() + seconds
    try:
        client = Client(tcp(port), body, None)
        while time.perf_counter() < until:
            client.ask()
            count += 1
    except (OSError, RuntimeError) as error:
        out.put(error)  # type: ignore[attr-defined] # a multiprocessing queue
    else:
        out.put(count)  # type: ignore[attr-defined] # as above


def throughput(port: int, clients: int, seconds: float = 3.0) -> float:
    """JSON requests a second, with so many clients in two processes of their own."""
    context = multiprocessing.get_context("spawn")
    out, body = context.Queue(), json_body()
    workers = [context.Process(target=_clients, args=(port, body, seconds, out, clients // 2)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counts = [out.get() for _ in range(clients)]
    for worker in workers:
        worker.join()
    if failed := [error for error in counts if isinstance(error, Exception)]:
        raise failed[0]
    return sum(counts) / seconds


def _clients(port: int, body: bytes, seconds: float, out: object, count: int) -> None:
    threads = [threading.Thread(target=_many, args=(port, body, seconds, out)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(rounds: int) -> dict[str, float]:
    host = ToyHost()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        unix = root / "s"
        device = Device(root / "device", host.url, host.token, serve=f'unix_socket = "{unix}"')
        try:
            wanted = publish_onnx(host, "cnn")
            host.assign(device.name, cnn=wanted)
            device.start("--real-runtimes")
            host.wait_for(device.name, lambda r: r.revision_applied == 1, 60)
            return _all_ways(host, device, root, unix, rounds)
        finally:
            device.stop()
            host.close()


def _all_ways(host: ToyHost, device: Device, root: Path, unix: Path, rounds: int) -> dict[str, float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    bare = onnxruntime.InferenceSession(graph_cnn(1)[0].SerializeToString(), options, ["CPUExecutionProvider"])
    slot = Slot("cnn")
    folder, manifest, artifact = _staged_cnn(host, root)
    slot.swap(_generation(OnnxRuntime(), (folder, manifest, artifact), 1))
    local = socket.socket(socket.AF_UNIX)
    local.connect(str(unix))

    def lease() -> None:
        with slot.lease() as generation:
            generation.model.run({"x": X})

    with _plain_server(root) as plain_port:
        ways = _ways(bare, lease, local, device.port, plain_port)
        times = interleaved(ways, rounds)
        with _on_one_core():
            times |= interleaved({f"{name}_one_core": ways[name] for name in ("json", "plain")}, rounds)
        rps = _throughputs(device.port, plain_port)
    figures = {f"{name}_p50_us": float(np.median(taken)) for name, taken in times.items()}
    figures |= {f"{name}_p99_us": float(np.quantile(taken, 0.99)) for name, taken in times.items()}
    return (
        figures
        | rps
        | {
            "lease_overhead_us": lease_overhead_us(slot),
            "json_overhead_us": figures["json_p50_us"] - figures["bare_p50_us"],
            "json_rps_4_of_plain": rps["json_rps_4"] / rps["plain_rps_4"],
            "json_one_core_of_plain": figures["json_one_core_p50_us"] / figures["plain_one_core_p50_us"],
        }
    )


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Client and servers together on one core: what is left of a latency when nothing has to be woken elsewhere.

    Free, one client's median is 200 or 300 µs as the scheduler happens to place the two; here it is what they do.
    """
    everywhere = os.sched_getaffinity(0)
    here = psutil.Process()
    threads = [thread.id for process in (here, *here.children()) for thread in process.threads()]
    for thread in threads:
        os.sched_setaffinity(thread, {min(everywhere)})
    try:
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, everywhere)


def _throughputs(port: int, plain_port: int) -> dict[str, float]:
    """Requests a second with four clients, in turns so that the machine's mood hits both alike."""
    ours, plain = [], []
    for _ in range(3):
        ours.append(throughput(port, 4))
        plain.append(throughput(plain_port, 4))
    return {"json_rps_4": float(np.median(ours)), "plain_rps_4": float(np.median(plain))}


@contextmanager
def _plain_server(root: Path) -> Iterator[int]:
    path = root / "plain.onnx"
    path.write_bytes(graph_cnn(1)[0].SerializeToString())
    command = [sys.executable, "-m", "benchmarks.plain_server", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline())  # type: ignore[union-attr] # a pipe was asked for
        finally:
            process.terminate()


def _ways(
    bare: onnxruntime.InferenceSession, lease: Callable[[], None], local: socket.socket, port: int, plain_port: int
) -> dict[str, Callable[[], None]]:
    body, length = binary_body()
    return {
        "bare": lambda: bare.run(None, {"x": X}),
        "lease": lease,
        "uds": Client(local, body, length).ask,
        "binary": Client(tcp(port), body, length).ask,
        "json": Client(tcp(port), json_body(), None).ask,
        "plain": Client(tcp(plain_port), json_body(), None).ask,
    }


def _staged_cnn(host: ToyHost, root: Path) -> tuple[Path, object, str]:
    from edgelift_contract.manifest import parse_manifest

    wanted = publish_onnx(host, "cnn")
    manifest = parse_manifest(host.blobs[wanted.artifact])
    folder = root / "local"
    folder.mkdir()
    for entry in manifest.files:
        (folder / entry.path).write_bytes(host.blobs[entry.sha256])
    return folder, manifest, wanted.artifact


def _generation(runtime: OnnxRuntime, ready: tuple, number: int) -> Generation:
    folder, manifest, artifact = ready
    return make_generation("cnn", number, artifact, manifest, runtime.load(folder, manifest), time.time())


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=1500)
    parsed = parser.parse_args()
    figures = measure(parsed.rounds)
    bare = figures["bare_p50_us"]
    rows = [
        [name, value, f"{value / bare:.2f}× bare" if name.endswith("_p50_us") else ""]
        for name, value in figures.items()
    ]
    show("serving the reference CNN, batch 1, one thread", rows, ["figure", "measured", "ratio"])
    write(parsed.json, figures)
    sys.exit(figures["lease_overhead_us"] > 2.0)


if __name__ == "__main__":
    main()
