"""Polls a second of one server process, and their p99: answered from memory, with and without a body.

The client is a process of its own, on a core of its own. `benchmarks.fleet` measures other servers with the same one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: The last core is the client's, the others are the server's: `pin_server` leaves it free. Taken at the beginning: whoever
#: has put itself on its own core sees no other.
_CORES = os.sched_getaffinity(0)
_CLIENT_CORE = max(_CORES)
_PATIENCE_S = 60.0
#: Says that this file is to be the client.
_CLIENT = "--client"


#: Connections that are held at most where each shows a device's certificate; one shows one alone.
_LINKS = 512


@dataclass(frozen=True)
class Shown:
    """Certificates: `boards` has a file for each device, `authorities` vouch for the server."""

    boards: Path
    authorities: Path


def measure_polls(
    url: str,
    token: str,
    devices: Sequence[str],
    clients: int,
    seconds: float,
    *,
    core: int | None = _CLIENT_CORE,
    shown: Shown | None = None,
) -> dict[str, Any]:
    """Poll for `devices` in turns, first with what they know already (304), then without (200 with the body).

    Args:
        url: of the server.
        token: to enrol with.
        devices: which are enrolled; those with an assignment are answered with a body the second time.
        clients: connections at once, each with one poll under way.
        seconds: for each of the two.
        core: the client's; None leaves it anywhere.
        shown: certificates, where devices are known by them: then each of some hundred devices has a connection of its
            own, and `clients` of them have a poll under way.

    Returns:
        `polls_per_s`, `poll_p50_ms`, `poll_p99_ms`, and the same with `body_` before them; `clients`.
    """
    host = urlsplit(url)
    links = list(devices[:_LINKS]) if shown is not None else []
    devices = links or devices
    known = [
        _etag(host.hostname or "", host.port or 80, poll_request(token, one), _context(shown, one))
        for one in devices
    ]
    matching = [poll_request(token, one, etag) for one, etag in zip(devices, known, strict=True)]
    whole = [poll_request(token, one) for one in devices]
    found = measure_requests(url, matching, clients, seconds, core=core, shown=shown, links=links)
    bodies = measure_requests(url, whole, clients, seconds, core=core, shown=shown, links=links)
    return {"clients": clients, **found, **{f"body_{name}": value for name, value in bodies.items()}}


def poll_request(token: str, device: str, etag: str = "") -> bytes:
    """A poll as an agent sends it, without a wait."""
    headers = [
        f"GET /v1/devices/{device}/desired HTTP/1.1", "Host: bench", "User-Agent: bench", "Accept: */*",
        *([f"Authorization: Bearer {token}"] if token else ()), f"Edgelift-Epoch: boot-of-{device}",
        f"Edgelift-Nonce: {hashlib.md5(device.encode(), usedforsecurity=False).hexdigest()}",
    ]  # fmt: skip
    if etag:
        headers.append(f"If-None-Match: {etag}")
    return ("\r\n".join(headers) + "\r\n\r\n").encode()


def measure_requests(
    url: str,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    *,
    core: int | None = _CLIENT_CORE,
    shown: Shown | None = None,
    links: Sequence[str] = (),
) -> dict[str, Any]:
    """Send ready-made requests to any server for a while; gives `polls_per_s`, `poll_p50_ms`, `poll_p99_ms`.

    Of `links`, the devices of the requests, each has a connection that shows its certificate, and its own request alone.

    Raises:
        RuntimeError: an answer was neither 200 nor 304.
    """
    host = urlsplit(url)
    order = {
        "host": host.hostname, "port": host.port or 80, "clients": clients, "seconds": seconds, "core": core,
        "requests": [one.decode("latin-1") for one in requests], "links": list(links),
        "boards": str(shown.boards) if shown else "", "authorities": str(shown.authorities) if shown else "",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, str(Path(__file__)), _CLIENT],
        input=json.dumps(order), capture_output=True, text=True, timeout=seconds + 2 * _PATIENCE_S, check=False,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"the polling client failed: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout)


def pin_server(pid: int) -> None:
    """Keep a server, with all of its threads, off the client's core."""
    others = _CORES - {_CLIENT_CORE} or {_CLIENT_CORE}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), others)
        except ProcessLookupError:
            pass  # that thread has just ended


@contextmanager
def on_every_core() -> Iterator[None]:
    """What is begun inside the block may run anywhere, whatever this process has put itself on."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def _context(shown: Shown | None, device: str) -> ssl.SSLContext | None:
    """TLS that shows a device's certificate."""
    if shown is None:
        return None
    context = ssl.create_default_context(cafile=shown.authorities)
    context.check_hostname = False
    context.load_cert_chain(shown.boards / f"{device}.pem")
    return context


def _connect(host: str, port: int, tls: ssl.SSLContext | None) -> socket.socket:
    made = socket.create_connection((host, port), timeout=_PATIENCE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(made) if tls is not None else made


def _etag(host: str, port: int, request: bytes, tls: ssl.SSLContext | None) -> str:
    with _connect(host, port, tls) as link:
        link.sendall(request)
        head = b""
        while b"\r\n\r\n" not in head:
            head += link.recv(65536)
    for line in head.decode("latin-1").split("\r\n"):
        if line.lower().startswith("etag:"):
            return line[5:].strip()
    return ""


class _Connection:
    """One client: a request under way at a time."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.sock = _connect(host, port, tls)
        self.sock.setblocking(False)
        self.sent_at, self.buffer, self.number = 0.0, b"", 0

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.sock.send(request)  # some hundred bytes on an empty socket: taken whole

    def receive(self) -> bool:
        """Is the answer whole now?"""
        try:
            piece = self.sock.recv(262144)
        except ssl.SSLWantReadError:
            return False  # half a record, or a ticket
        if not piece:
            raise RuntimeError("the server closed a connection")
        self.buffer += piece
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        status = head[9:12]
        if status not in (b"200", b"304"):
            raise RuntimeError(f"answered {self.buffer[:400]!r}")
        if status == b"200" and len(body) < _length(head):
            return False
        self.buffer = b""
        return True


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _run(order: dict[str, Any]) -> dict[str, Any]:
    if order["core"] is not None:
        os.sched_setaffinity(0, {order["core"]})
    requests = [one.encode("latin-1") for one in order["requests"]]
    links = order["links"]
    shown = Shown(Path(order["boards"]), Path(order["authorities"])) if links else None
    connections = [
        _Connection(order["host"], order["port"], _context(shown, one)) for one in links or [""] * order["clients"]
    ]
    poller = select.epoll()
    by_number = {one.sock.fileno(): one for one in connections}
    for number in by_number:
        poller.register(number, select.EPOLLIN)
    idle = deque(enumerate(connections))
    turn = 0

    def send() -> None:
        """The next connection's next request: its own, where it shows a certificate."""
        nonlocal turn
        at, one = idle.popleft()
        one.number = at
        one.send(requests[at if links else turn % len(requests)])
        turn += 1

    began = time.perf_counter()
    for _ in range(min(order["clients"], len(connections))):
        send()
    took: list[float] = []
    warm_at, until = began + min(1.0, order["seconds"] / 5), began + order["seconds"]
    while (now := time.perf_counter()) < until:
        for number, _ in poller.poll(1.0):
            one = by_number[number]
            if one.receive():
                now = time.perf_counter()
                if now > warm_at:
                    took.append(now - one.sent_at)
                idle.append((one.number, one))
                send()
    took.sort()
    lasted = until - warm_at
    return {
        "polls_per_s": round(len(took) / lasted, 1),
        "poll_p50_ms": round(took[len(took) // 2] * 1000, 2),
        "poll_p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2),
    }


def _site(folder: Path, devices: int) -> tuple[Path, list[str]]:
    """A site with devices that have an assignment each, written as rows: nobody has to run for that."""
    from edgelift_fleet.db import SITE, Database
    from edgelift_fleet.site import create_site
    from edgelift_fleet.tables import AssignmentRow, DeviceRow

    site, _ = create_site(folder)
    names = [f"pi-{number}" for number in range(devices)]
    body = '{"device":"%s","issued_at":1.0,"revision":1,"schema":1,"slots":{"digits":{"artifact":"%s"}}}'
    with contextlib.closing(Database(site.database)) as db:
        db.migrate()
        with db.write(SITE) as session:
            session.add_all([DeviceRow(id=name, enrolled_at=1.0, facts="{}") for name in names])
            session.flush()
            session.add_all(
                [AssignmentRow(device=n, revision=1, issued_at=1.0, body=body % (n, "a" * 64)) for n in names]
            )
    return site.folder, names


def main() -> None:
    """Measure a server of our own."""
    from benchmarks.common import arguments, show, write

    options = arguments(__doc__ or "").parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        site, names = _site(Path(folder) / "site", 200)
        command = [sys.executable, "-c", "from edgelift.cli import main; main()", "serve", "--site", str(site)]
        command += ["--port", "0", "--broker", "none"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            url = json.loads((site / "run" / "server.json").read_text())["url"]
            token = (site / "secrets" / "enrolment-token").read_text().strip()
            pin_server(server.pid)
            runs = [measure_polls(url, token, names, clients, 4.0) for clients in (1, 8, 32)]
            server.terminate()
    columns = list(runs[0])
    show("Polls of one server process", [[run[name] for name in columns] for run in runs], columns)
    write(options.json, {"runs": runs, **runs[-1]})


if __name__ == "__main__":
    if sys.argv[1:] == [_CLIENT]:
        json.dump(_run(json.load(sys.stdin)), sys.stdout)
    else:
        main()
