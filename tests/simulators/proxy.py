"""A hostile proxy: real HTTP between a device and its host, which plays the tricks of portals, proxies and bad links.

`plan(route, tricks)` queues tricks for a route (`enrol`, `desired`, `report`, `telemetry`, or a blob's digest); each
request there takes the next one, and once none is left the answers are honest again.
"""

import contextlib
import gzip
import http.client
import http.server
import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.waiting import LONG_S

HTML = b"<!doctype html><html><body>Welcome to our guest network. " + b"Please sign in. " * 190 + b"</body></html>"
assert len(HTML) > 3000


@dataclass
class Answer:
    """An answer of the host, to be passed on or not."""

    status: int
    headers: dict[str, str]
    body: bytes


class HostileProxy:
    """Stands before `host` (host, port). `url` goes into a device's configuration instead of the host's."""

    def __init__(self, host: tuple[str, int]) -> None:
        self.host = host
        self.played: list[tuple[str, str]] = []
        self.endless_bytes: list[int] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.last: dict[str, Answer] = {}
        self.changed = threading.Condition()
        self._plans: dict[str, list[str]] = defaultdict(list)
        proxy = self

        class Bound(_Handler):
            of = proxy

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Devices go away in the middle of these."""

        self._server = Server(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def plan(self, route: str, tricks: list[str]) -> None:
        with self.changed:
            self._plans[route] += tricks

    def forget(self, route: str) -> int:
        """Be honest on this route from now on; how many tricks were still to be played there."""
        with self.changed:
            return len(self._plans.pop(route, []))

    def left(self) -> dict[str, list[str]]:
        """Tricks that no request has met yet."""
        with self.changed:
            return {route: list(tricks) for route, tricks in self._plans.items() if tricks}

    def wait_played(self, timeout_s: float = LONG_S) -> None:
        """Wait until every trick was met."""
        with self.changed:
            if not self.changed.wait_for(lambda: not any(self._plans.values()), timeout_s):
                raise TimeoutError(f"not played: { {r: t for r, t in self._plans.items() if t} }")

    def next_trick(self, route: str) -> str:
        with self.changed:
            if not self._plans[route]:
                return "honest"
            trick = self._plans[route].pop(0)
            self.played.append((route, trick))
            self.changed.notify_all()
            return trick


class _Handler(http.server.BaseHTTPRequestHandler):
    of: HostileProxy
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        route = route_of(self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        with self.of.changed:
            self.of.asked.append((route, self.path, headers))
        trick = self.of.next_trick(route)
        play = TRICKS[trick]
        if trick == "ranges ignored":
            headers.pop("Range", None)
        try:
            play(self, route, lambda: self.ask_host(route, body, headers))
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = _any

    def ask_host(self, route: str, body: bytes, headers: dict[str, str]) -> Answer:
        link = http.client.HTTPConnection(*self.of.host, timeout=LONG_S)
        with contextlib.closing(link):
            link.request(self.command, self.path, body or None, {**headers, "Connection": "close"})
            response = link.getresponse()
            found = Answer(response.status, dict(response.getheaders()), response.read())
        self.of.last.setdefault(route, found)
        return found

    def send(self, status: int, headers: dict[str, str], body: bytes, *, length: int | None = None) -> None:
        self.head(status, {**headers, "Content-Length": str(len(body) if length is None else length)})
        self.connection.sendall(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        skip = {"connection", "date", "server", "transfer-encoding"}
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in skip]
        self.connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def cut(self, *, hard: bool = False) -> None:
        if hard:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def route_of(path: str) -> str:
    """`enrol`, `desired`, `report`, `telemetry`, or a blob's digest."""
    last = urlsplit(path).path.rsplit("/", 1)[-1]
    return "enrol" if last == "enroll" else last


Ask = Callable[[], Answer]
Play = Callable[[_Handler, str, Ask], None]


def page(status: int, body: bytes = HTML, kind: str = "text/html; charset=utf-8", **headers: str) -> Play:
    """Answer in the host's place."""

    def play(to: _Handler, route: str, ask: Ask) -> None:
        to.send(status, {"Content-Type": kind, **{n.replace("_", "-"): v for n, v in headers.items()}}, body)

    return play


def other_program(status: int, message: object) -> Play:
    return page(status, json.dumps(message).encode(), "application/json")


def honest(to: _Handler, route: str, ask: Ask) -> None:
    found = ask()
    headers = {name: value for name, value in found.headers.items() if name.lower() != "content-length"}
    if found.status == 304:
        to.head(304, headers)
    else:
        to.send(found.status, headers, found.body)


def cut_after(count: int, *, hard: bool = False) -> Play:
    """The honest answer's first `count` bytes of body, then the connection ends."""

    def play(to: _Handler, route: str, ask: Ask) -> None:
        found = ask()
        to.head(found.status, found.headers)
        to.connection.sendall(found.body[:count])
        if hard and count:
            time.sleep(0.02)  # what is on its way is to arrive before the reset overtakes it
        to.cut(hard=hard)

    return play


def other_length(by: int) -> Play:
    """A wrong Content-Length over the honest body; then the connection ends."""

    def play(to: _Handler, route: str, ask: Ask) -> None:
        found = ask()
        headers = {name: value for name, value in found.headers.items() if name.lower() != "content-length"}
        to.send(found.status, headers, found.body, length=max(0, len(found.body) + by))
        to.cut()

    return play


def endless(status: int, kind: str, **headers: str) -> Play:
    """A body without an end, until the device has had enough."""

    def play(to: _Handler, route: str, ask: Ask) -> None:
        to.cut()
        to.head(status, {"Content-Type": kind, **headers})
        piece = b'{"a": ' * 10_000
        to.of.endless_bytes.append(0)
        with contextlib.suppress(OSError):
            for _ in range(2_000):  # 120 MB, in case the device never has
                to.connection.sendall(piece)
                to.of.endless_bytes[-1] += len(piece)

    return play


def endless_headers(to: _Handler, route: str, ask: Ask) -> None:
    to.cut()
    to.connection.sendall(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        for number in range(10_000):
            to.connection.sendall(b"X-%d: y\r\n" % number)
            time.sleep(0.02)


def slow(to: _Handler, route: str, ask: Ask) -> None:
    """The honest answer, a byte at a time."""
    found = ask()
    to.cut()
    to.head(found.status, found.headers)
    with contextlib.suppress(OSError):
        for number in range(len(found.body)):
            to.connection.sendall(found.body[number : number + 1])
            time.sleep(0.02)


def zipped(to: _Handler, route: str, ask: Ask) -> None:
    found = ask()
    headers = {n: v for n, v in found.headers.items() if n.lower() != "content-length"}
    to.send(
        found.status if found.status != 304 else 200,
        {**headers, "Content-Encoding": "gzip"},
        gzip.compress(found.body),
    )


def altered(to: _Handler, route: str, ask: Ask) -> None:
    """One byte of the honest body is another one; its length is right."""
    found = ask()
    headers = {n: v for n, v in found.headers.items() if n.lower() != "content-length"}
    to.send(
        found.status if found.status != 304 else 200,
        headers,
        bytes([*found.body[:-1], *[b ^ 1 for b in found.body[-1:]]]),
    )


def stale(to: _Handler, route: str, ask: Ask) -> None:
    """A cache: the first answer that this route ever gave, instead of asking."""
    found = to.of.last.get(route)
    if found is None or found.status == 304:
        found = Answer(200, {"Content-Type": "application/json"}, b"{}")
    headers = {n: v for n, v in found.headers.items() if n.lower() != "content-length"}
    to.send(found.status, headers, found.body)


def silent(to: _Handler, route: str, ask: Ask) -> None:
    to.cut()
    to.connection.settimeout(30)
    with contextlib.suppress(OSError):
        to.connection.recv(1)  # until the device has had enough


def hung_up(to: _Handler, route: str, ask: Ask) -> None:
    to.cut(hard=True)


def other_protocol(to: _Handler, route: str, ask: Ask) -> None:
    to.cut()
    to.connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


_SAYS_NOT_FOUND = {"error": "Not here.", "code": "not-found", "hint": ""}

#: Every trick by its name.
TRICKS: dict[str, Play] = {
    "honest": honest,
    "302 to a portal": page(302, b"", Location="http://portal.example/sign-in"),
    "307 to a portal": page(307, HTML, Location="/sign-in"),
    "301 without an end": endless(301, "text/html", Location="http://portal.example/"),
    "200 with HTML": page(200),
    "200 with nothing": page(200, b""),
    "204": page(204, b""),
    "304 of somebody's": lambda to, _route, _ask: to.head(304, {"ETag": '"x"'}),
    "401 page": page(401, WWW_Authenticate="Basic"),
    "403 page": page(403),
    "404 page": page(404),
    "407": page(407, Proxy_Authenticate='Basic realm="proxy"'),
    "408": page(408),
    "410 page": page(410),
    "425": page(425),
    "429 with Retry-After": page(429, Retry_After="1"),
    "451 page": page(451),
    "500 page": page(500),
    "502 page": page(502),
    "503 with Retry-After": page(503, Retry_After="Wed, 21 Oct 2065 07:28:00 GMT"),
    "511 page": page(511),
    "JSON of another program": other_program(200, {"status": "ok"}),
    "JSON that looks like ours": other_program(
        200, {"schema": 1, "device": "pi-9", "epoch": "x", "last": 0, "new": 1}
    ),
    "404 in JSON": other_program(404, {**_SAYS_NOT_FOUND, "code": "missing-blob"}),
    "400 in JSON": other_program(400, {**_SAYS_NOT_FOUND, "code": "malformed"}),
    "another protocol": other_protocol,
    "cached": stale,
    "cut at 0": cut_after(0),
    "cut at 1 B": cut_after(1),
    "cut at 1 KB": cut_after(1_000),
    "cut at 40 KB": cut_after(40_000, hard=True),
    "cut at 1 MB": cut_after(1_000_000),
    "truncated": other_length(+1000),
    "shorter than announced": other_length(-1),
    "gzip": zipped,
    "ranges ignored": honest,
    "endless": endless(200, "application/json"),
    "endless page": endless(404, "text/html"),
    "endless blob": endless(200, "application/octet-stream"),
    "endless headers": endless_headers,
    "slow": slow,
    "silent": silent,
    "hung up": hung_up,
    "altered": altered,
}
