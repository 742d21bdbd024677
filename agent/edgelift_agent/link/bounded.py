"""HTTP requests bounded as a whole: in time also while headers drip in, in bytes before anything is parsed.

A socket's time-out begins anew with every byte, so a host (or what stands in its place) that sends one byte a second
would hold a request open for ever. Here a watch cuts the connection when the whole time is up. Bodies are never
decompressed, and nothing is read beyond a limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from socket import SHUT_RDWR, socket
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from edgelift_agent.system.standby import begin
from edgelift_contract.errors import TransportError

log = logging.getLogger(__name__)

#: What a request's body must at least bring within each time-out, bytes: 51 a second at 20 s.
MIN_PROGRESS_BYTES = 1024

_PIECE_BYTES = 64 * 1024


class _Alarm:
    """One thread for all: calls what is due, unless it was called off before."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Callable[[], None], float] = {}
        begin(threading.Thread(target=self._run, name="request-alarm", daemon=True))

    def set(self, action: Callable[[], None], seconds: float) -> None:
        with self._changed:
            self._due[action] = time.monotonic() + seconds
            self._changed.notify()

    def off(self, action: Callable[[], None]) -> None:
        with self._changed:
            self._due.pop(action, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for action in [action for action, due in self._due.items() if due <= now]:
                    del self._due[action]
                    _call(action)
                self._changed.wait(min(self._due.values()) - now if self._due else None)


def _call(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception:
        log.exception("an alarm failed")


@cache
def alarm() -> _Alarm:
    """The process's one; to be called when the agent begins, before a thread can be refused.

    Raises:
        DeviceError: `no-memory`.
    """
    return _Alarm()


class Watch:
    """The sockets of one thread's requests, and the alarm for the one under way."""

    def __init__(self) -> None:
        self._socket: Any = None
        self.expired = False
        self.address = ""

    def holds(self, sock: Any) -> None:
        """The request under way uses this socket."""
        self._socket = sock
        with suppress(OSError):
            self.address = str(sock.getsockname()[0])

    @contextmanager
    def over(self, seconds: float) -> Iterator[Callable[[], None]]:
        """Cut the connection if the block takes longer; what it gives ends the watch sooner."""
        self._socket, self.expired = None, False
        cut = partial(self._cut)  # each block has its own
        alarm().set(cut, seconds)
        try:
            yield lambda: alarm().off(cut)
        finally:
            alarm().off(cut)

    def _cut(self) -> None:
        self.expired = True
        if self._socket is not None:
            with suppress(OSError):
                socket.shutdown(self._socket, SHUT_RDWR)  # beneath TLS: its good-bye might block as well


def read_body(response: BaseHTTPResponse, limit_bytes: int, *, what: str) -> bytes:
    """The body, whole.

    Raises:
        TransportError: `too-large` beyond the limit, `cut-short` when it ended too early.
    """
    announced = response.headers.get("Content-Length", "")
    body = bytearray()
    while len(body) <= limit_bytes and (piece := response.read1(_PIECE_BYTES, decode_content=False)):
        body += piece
    if len(body) > limit_bytes:
        raise TransportError("too-large", f"{what} has more than {limit_bytes} bytes.")
    if announced.isdigit() and int(announced) > len(body):
        raise TransportError("cut-short", f"{what} ended after {len(body)} of {announced} bytes.")
    return bytes(body)


def read_start(response: BaseHTTPResponse, limit_bytes: int) -> bytes:
    """At most the first `limit_bytes` of a body that isn't what was asked for; what ends early is as good."""
    body = bytearray()
    with suppress(HTTPError, OSError):
        while len(body) < limit_bytes and (piece := response.read1(limit_bytes, decode_content=False)):
            body += piece
    return bytes(body[:limit_bytes])


def read_pieces(response: BaseHTTPResponse, size_bytes: int, *, timeout_s: float, what: str) -> Iterator[bytes]:
    """At most `size_bytes` of the body, in pieces as they come: nothing is held back, so nothing is lost by a cut.

    Raises:
        TransportError: `timed-out` when it comes too slowly.
    """
    got = noted = 0
    due = time.monotonic() + timeout_s
    while got < size_bytes:
        piece = response.read1(min(_PIECE_BYTES, size_bytes - got), decode_content=False)
        if not piece:
            return
        got += len(piece)
        yield piece
        if time.monotonic() >= due:
            if got - noted < MIN_PROGRESS_BYTES and got < size_bytes:
                raise TransportError(
                    "timed-out", f"{what} came too slowly: {got - noted} bytes in {timeout_s:g} s."
                )
            noted, due = got, time.monotonic() + timeout_s
