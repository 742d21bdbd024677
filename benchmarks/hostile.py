"""A real agent among hostile clients: 1,500 idle connections, then a 60 MB JSON body for a small input; ends by itself.

The agent runs under systemd's default limit of 1,024 descriptors. Figures: `answer_p99_ms` of an honest client's
requests meanwhile, `rss_ratio` (resident memory when it is over ÷ before), `log_lines` that the agent wrote.
"""

import contextlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from tests.simulators.device import Device

from benchmarks.common import arguments, show, write
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile

IDLE, DESCRIPTORS = 1500, 1024
BODY_BYTES = 60_000_000
PATH = "/v2/models/toy/infer"
TENSOR = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[%b]}]}'
GOOD = TENSOR % b"1,2,3,4"
BOUNDS = {"answer_p99_ms": 100.0, "rss_ratio": 1.5, "log_lines": 100}
#: What an operation of a hostile client may take before the bench goes on without it, seconds.
PATIENCE_S = 20.0


class Honest:
    """One client that asks a hundred times a second on a connection of its own, and opens another when cut."""

    def __init__(self, port: int) -> None:
        self._port, self._stop = port, threading.Event()
        self.taken_ms: list[float] = []
        self.failures = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Honest":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        sock = None
        while not self._stop.wait(0.01):
            began = time.perf_counter()
            try:
                if sock is None:
                    sock = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
                sock.sendall(post(GOOD))
                answered = sock.recv(65536).startswith(b"HTTP/1.1 200")
            except OSError:
                answered = False
            if not answered:
                self.failures += 1
                sock = sock.close() if sock else None  # type: ignore[func-returns-value] # the None is wanted
            self.taken_ms.append((time.perf_counter() - began) * 1e3)


def post(body: bytes) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def idle_connections(port: int) -> Iterator[None]:
    """Open, silent, and never closed by us."""
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
        yield


def send_large(port: int) -> str:
    """The 60 MB body; returns the status that came back, however much of it was taken."""
    body = TENSOR % (b"1," * (BODY_BYTES // 2) + b"1")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(post(body))
        try:
            return sock.recv(100).split(b" ")[1].decode()
        except (OSError, IndexError):
            return "cut"


def measure(seconds: float) -> dict[str, float | str]:
    host = ToyHost()
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), host.url, host.token)
        try:
            host.assign(device.name, toy=host.publish("1", ToyModelFile()))
            device.start()
            limit = (DESCRIPTORS, DESCRIPTORS)
            process = psutil.Process(device.process.pid)
            process.rlimit(psutil.RLIMIT_NOFILE, limit)
            until = time.monotonic() + 60
            while device.answer() is None and time.monotonic() < until:
                time.sleep(0.1)
            for _ in range(200):
                device.answer()
            time.sleep(1)
            before, lines = process.memory_info().rss, len(device.log.read_text().splitlines())
            with Honest(device.port) as honest, idle_connections(device.port):
                time.sleep(seconds / 2)
                status = send_large(device.port)
                time.sleep(seconds / 2)
            after = process.memory_info().rss if process.is_running() else 0
            taken = sorted(honest.taken_ms)
            return {
                "answer_p99_ms": taken[int(len(taken) * 0.99)],
                "answer_max_ms": taken[-1],
                "answer_p50_ms": statistics.median(taken),
                "answers": len(taken),
                "failures": honest.failures,
                "rss_ratio": after / before
                if device.process.poll() is None
                else 999.0,  # a dead agent needs no memory
                "log_lines": len(device.log.read_text().splitlines()) - lines,
                "large_body_status": status,
            }
        finally:
            with contextlib.suppress(AssertionError):
                device.stop()
            host.close()


def allow_descriptors() -> None:
    """Make sure that this process itself may open so many connections; through a shell's `ulimit` where it may not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = IDLE + 500
    if hard != resource.RLIM_INFINITY and hard < need and not shutil.which("prlimit"):
        sys.exit(f"hostile: this machine allows {hard} descriptors; {need} are needed.")
    if hard != resource.RLIM_INFINITY and hard < need:
        pid = str(psutil.Process().pid)
        subprocess.run(["prlimit", "--nofile", f"--pid={pid}", f"--nofile={need}:{need}"], check=False)
        hard = need
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the idle connections stay")
    parsed = parser.parse_args()
    allow_descriptors()
    figures = measure(parsed.seconds)
    rows = [[name, value, f"< {BOUNDS[name]:g}" if name in BOUNDS else ""] for name, value in figures.items()]
    show("an agent among hostile clients", rows, ["figure", "measured", "bound"])
    write(parsed.json, figures)
    sys.exit(any(float(figures[name]) >= bound for name, bound in BOUNDS.items()))


if __name__ == "__main__":
    main()
