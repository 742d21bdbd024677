"""One connection of uvicorn's, and what its client may take of the server: a place, time and bytes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgelift_fleet.web.heads import FULL, MALFORMED, TOO_LONG, refusal_of, without_offers
from edgelift_fleet.web.places import Places

log = logging.getLogger(__name__)


class _Refused(Exception):
    """Raised within the parser: the head that it has just read is refused."""


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


class Connected(Protocol):
    """Whatever holds a place."""

    def give_way(self) -> None:
        """Another needs the place."""

    def cut(self) -> None:
        """End it now."""

    def is_overdue(self, now: float, patience_s: float) -> bool:
        """Has the client not done its part in time?"""


class GuestProtocol(HttpToolsProtocol):
    """A connection that has a place, or is turned away. The application finds it as `connection` in the scope's state, and
    by `certificate` there what its client showed, as DER: empty for none.
    """

    def __init__(self, *args: Any, allowance: Allowance, places: Places[Connected], **options: Any) -> None:
        super().__init__(*args, **options)
        self._allowance, self._places = allowance, places
        self.certificate, self.device = b"", ""
        self.since = self.loop.time()  # when it came, then: when it was answered last
        self._due = math.inf  # the request must have come whole by then
        self._in_head, self._is_whole, self._head_bytes, self._read_bytes = False, True, 0, 0
        self._is_shared = False  # some of what was read last was of a request before this one
        self._let_in = self._turned_away = self._is_over = False
        self._answer = MALFORMED  # to what can't be taken
        self._release: Callable[[], None] | None = None
        self._unsent, self._unsent_since = 0, 0.0

    # What the application says of its client.

    def let_in(self, device: str = "") -> None:
        """The client showed a token that is valid here, or the certificate of a device."""
        self._let_in, self.device = True, device
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
            transport.write(FULL)
            transport.close()
            self._turned_away = True  # nothing of it is read
            return
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self.certificate = tls.getpeercert(binary_form=True) or b""
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
        """Some of a request, or of several."""
        if self._turned_away or self._is_over:
            return
        self._is_shared = False
        self._feed(data)
        if self._in_head and not self._is_over:
            # Of a header that isn't whole yet the parser says nothing.
            self._read_bytes += 0 if self._is_shared else len(data)
            if self._read_bytes > self._allowance.head_bytes:
                self._answer = TOO_LONG
                self._refuse()

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        try:
            while len(rest) and not self.transport.is_closing():
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._begin_without_upgrade()
        except httptools.HttpParserError as error:
            self.send_400_response(str(error))

    def _begin_without_upgrade(self) -> None:
        """Read the head as it would be without its offer of another protocol, which a server may pass over (RFC 9110 §7.8).

        Java's own client makes that offer with every request. The parser takes what follows the head for the other
        protocol's; so it is begun anew, with the head without the offer, and goes on where it stopped.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            raise httptools.HttpParserError("nothing is connected to from here")
        head = without_offers([b"%b %b HTTP/%b" % (method, self.url, version.encode())], self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(head)

    def send_400_response(self, msg: str) -> None:
        """What came can't be read as a request, or its head is refused."""
        log.debug("no request: %s", msg)
        self._refuse()

    def _refuse(self) -> None:
        """Nothing more is read. No answer goes before those that are owed to requests which came first."""
        self._is_over = True
        in_body = (
            not self._in_head and not self._is_whole
        )  # of the request that is being answered, or waits for its turn
        if in_body and (self.pipeline or self.cycle.response_started):
            self.transport.close()
        elif in_body or self.cycle is None or self.cycle.response_complete:
            self.transport.write(self._answer)
            self.transport.close()
        else:
            self.cycle.keep_alive, self._due = (
                False,
                math.inf,
            )  # the last that is owed: the connection ends with it

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._in_head, self._is_whole, self._head_bytes, self._read_bytes = True, False, 0, 0
        self._due = self.loop.time() + self._allowance.request_s
        if self._let_in and self._release is None:
            self._places.does(self, "busy")

    def on_url(self, url: bytes) -> None:
        """Some of its address."""
        super().on_url(url)
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers. Those after its body are dropped: nothing is let in or meant by them (RFC 9110 §6.5.1)."""
        self._head_bytes += len(name) + len(value)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its body comes."""
        if self.parser.should_upgrade():
            return  # it is read once more, without that
        answer = refusal_of(self.parser.get_http_version(), self.headers)
        if self._head_bytes > self._allowance.head_bytes:
            answer = TOO_LONG
        if answer:
            self._answer = answer
            raise _Refused
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if length.isdigit() and len(length) < 14:
            self._due += int(length) / self._allowance.body_bytes_per_s
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        """It has come whole."""
        if self.parser.should_upgrade():
            return
        self._due, self._is_whole, self._is_shared = math.inf, True, True
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


def cut_overdue(places: Places[Connected], allowance: Allowance, now: float) -> None:
    """End every connection whose client has not done its part in time."""
    for connection in places.those("new"):
        if connection.is_overdue(now, allowance.silent_s):
            connection.cut()
    for connection in places.those("idle"):
        if not isinstance(connection, GuestProtocol) or now - connection.since <= allowance.idle_s:
            break  # those behind it are idle for less
        connection.cut()
    for connection in places.those("busy"):
        if connection.is_overdue(now, math.inf):
            connection.cut()
