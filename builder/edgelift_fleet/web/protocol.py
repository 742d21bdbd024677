"""One connection of uvicorn's, and what its client may take of the server: a place, time and bytes."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgelift_fleet.web.places import Places

log = logging.getLogger(__name__)


def _last_word(line: str, media: str, body: dict[str, object], *more: str) -> bytes:
    """An answer before which no application was asked; the connection ends with it."""
    data = json.dumps(body, separators=(",", ":")).encode()
    head = [f"HTTP/1.1 {line}", f"content-type: {media}", "edgelift: 1", *more, "connection: close"]
    return "\r\n".join([*head, f"content-length: {len(data)}", "", ""]).encode() + data


_FULL = _last_word(
    "503 Service Unavailable", "application/json",
    {"code": "busy", "error": "Too many connections are busy here.", "hint": "Ask again soon."}, "retry-after: 5",
)  # fmt: skip


def _no_request(line: str, code: str, said: str, hint: str) -> bytes:
    # As the operators' side refuses: an agent takes this for trouble on the way, which is the harmless mistake.
    problem: dict[str, object] = {
        "code": code, "error": said, "hint": hint, "type": f"/v1/errors/{code}", "title": said,
        "status": int(line[:3]), "detail": said,
    }  # fmt: skip
    return _last_word(line, "application/problem+json", problem)


_TOO_LONG = _no_request(
    "431 Request Header Fields Too Large", "too-large", "The request's line and headers are too long.",
    "Ask for less in the address; a long selector is sent in a body.",
)  # fmt: skip
_MALFORMED = _no_request("400 Bad Request", "malformed", "This is no request of HTTP/1.1.", "")


@dataclass(frozen=True)
class Allowance:
    """What a client may take.

    Attributes:
        silent_s: a connection that showed no valid token within this is closed, seconds.
        idle_s: … and one that showed one, this long after its last answer.
        request_s: a request must have come whole within this, seconds …
        body_bytes_per_s: … and one second more for so many bytes that its body is said to have.
        head_bytes: longest request line and headers.
        answer_s: a client must take some of its answer within this, seconds.
    """

    silent_s: float = 10.0
    idle_s: float = 75.0
    request_s: float = 20.0
    body_bytes_per_s: int = 16 * 1024
    head_bytes: int = 32 * 1024
    answer_s: float = 30.0


class GuestProtocol(HttpToolsProtocol):
    """A connection that has a place, or is turned away. The application finds it as `connection` in the scope's state."""

    def __init__(self, *args: Any, allowance: Allowance, places: Places[GuestProtocol], **options: Any) -> None:
        super().__init__(*args, **options)
        self._allowance, self._places = allowance, places
        self.since = self.loop.time()  # when it came, then: when it was answered last
        self._due = math.inf  # the request must have come whole by then
        self._in_head, self._head_bytes = False, 0
        self._let_in = self._turned_away = False
        self._release: Callable[[], None] | None = None
        self._unsent, self._unsent_since = 0, 0.0

    # What the application says of its client.

    def let_in(self) -> None:
        """The client showed a token that is valid here."""
        self._let_in = True
        self._places.does(self, "busy")

    def park(self, release: Callable[[], None]) -> None:
        """The request waits for something to happen; `release` ends that when the client goes or its place is needed."""
        self._release = release
        self._places.does(self, "parked")

    def unpark(self) -> None:
        """The request is being answered."""
        self._release = None
        self._places.does(self, "busy")

    # The transport's and the parser's calls.

    def connection_made(self, transport: Any) -> None:
        """Find a place, or turn the client away."""
        peer = transport.get_extra_info("peername")
        has_place, goes = self._places.come(self, peer[0] if isinstance(peer, tuple) else "", self.since)
        if goes is not None:
            goes.give_way()
        if not has_place:
            transport.write(_FULL)
            transport.close()
            self._turned_away = True  # nothing of it is read
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and let what waits for this client end."""
        self._places.leave(self)
        if self._turned_away:
            return
        super().connection_lost(exc)
        if self._release is not None:
            self._release()

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        if self._turned_away:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self._allowance.head_bytes:
                self._end_with(_TOO_LONG)

    def send_400_response(self, msg: str) -> None:
        """What came can't be read as a request."""
        log.debug("no request: %s", msg)
        self._end_with(_MALFORMED)

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._in_head, self._head_bytes = True, 0
        self._due = self.loop.time() + self._allowance.request_s
        if self._let_in and self._release is None:
            self._places.does(self, "busy")

    def on_headers_complete(self) -> None:
        """Its body comes."""
        self._in_head = False
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if length.isdigit() and len(length) < 14:
            self._due += int(length) / self._allowance.body_bytes_per_s
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It has come whole."""
        self._due = math.inf
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered. (As uvicorn's, without a timer for each request: the server's own look ends idle ones.)"""
        self.server_state.total_requests += 1
        self.since = self.loop.time()
        if self._let_in and not self.pipeline:
            self._places.does(self, "idle")
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    # What ends it.

    def is_overdue(self, now: float, patience_s: float) -> bool:
        """Has the client not done its part in time? `patience_s`: how long it may do nothing at all."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent:
                self._unsent, self._unsent_since = unsent, now
            return now - self._unsent_since > self._allowance.answer_s
        self._unsent = 0
        if now > self._due and not self.flow.read_paused:
            return True
        answered = self.cycle is None or self.cycle.response_complete
        return answered and now - self.since > patience_s

    def give_way(self) -> None:
        """Another needs the place."""
        if self._release is None:
            self.cut()
        else:
            self.cycle.keep_alive = False
            self._release()

    def cut(self) -> None:
        """End it now, whatever is under way."""
        self._places.leave(self)
        self.transport.abort()


def cut_overdue(places: Places[GuestProtocol], allowance: Allowance, now: float) -> None:
    """End every connection whose client has not done its part in time."""
    for connection in places.those("new"):
        if connection.is_overdue(now, allowance.silent_s):
            connection.cut()
    for connection in places.those("idle"):
        if now - connection.since <= allowance.idle_s:
            break  # those behind it are idle for less
        connection.cut()
    for connection in places.those("busy"):
        if connection.is_overdue(now, math.inf):
            connection.cut()
