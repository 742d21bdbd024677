"""Connections of an HTTP server, bounded in number, in bytes and in patience.

Whoever may connect can hurt a server by doing nothing: sockets that say nothing, requests that are half sent, answers
that are not taken. Here each has its limit, and when all places are taken, whoever waits longest for its own client
gives its place to a newcomer. A connection that the server still owes an answer never does.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

#: How often overdue connections are looked for while there are any, seconds.
LOOK_EVERY_S = 1.0
#: A request that began this lately is left alone when a place is needed: it is on its way, seconds.
ON_ITS_WAY_S = 1.0
#: Share of the process's descriptors that one server's connections may take; models, files and links need the rest.
DESCRIPTOR_SHARE = 4

#: Headers, and words of `Connection`, by which a client offers to go on in another protocol.
_OFFERS = frozenset({b"upgrade", b"http2-settings"})

#: Is whoever connected by this socket to be answered?
Trust = Callable[[Any], bool]

_FULL_BODY = b'{"error":"Too many connections are busy here.","code":"busy"}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)


@dataclass(frozen=True)
class Bounds:
    """What a client may take of the server.

    Attributes:
        connections: open at once; at most a quarter of the process's descriptors, whatever is said here.
        silent_s: a connection on which no request comes is closed after this, seconds.
        request_s: a request may pause this long, and have this long to come whole, seconds …
        body_bytes_per_s: … and one second more for so many bytes of its body.
        head_bytes: longest request line and headers.
        body_bytes: longest body, for which time is given.
        answer_s: a client must take some of its answer within this, seconds.
    """

    connections: int = 256
    silent_s: float = 5.0
    request_s: float = 10.0
    body_bytes_per_s: int = 128 * 1024
    head_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024 * 1024
    answer_s: float = 10.0

    def places(self) -> int:
        """Connections that this process can really have open here."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.connections if soft < 0 else max(8, min(self.connections, soft // DESCRIPTOR_SHARE))

    def have_room(self, peers: Collection[Occupant], now: float) -> bool:
        """Is there a place, beside those that are connected, or one to be made? False when all are owed an answer."""
        return len(peers) < self.places() or _make_room(peers, now)


class Occupant(Protocol):
    """A connection that holds a place; times are the loop's, seconds.

    Attributes:
        heard, idle_since: the client's last byte; the last answer's end.
        has_asked: ever, anything.
    """

    heard: float
    idle_since: float
    has_asked: bool

    @property
    def waits(self) -> Literal["", "silent", "reading"]:
        """What the client is waited for: a request, or the rest of one; empty while it is the server's turn."""

    def is_overdue(self, now: float) -> bool:
        """Has the client not done its part in time?"""

    def cut(self) -> None:
        """End the connection now, whatever is under way."""


def _make_room(peers: Collection[Occupant], now: float) -> bool:
    """Cut who never asked anything, else who waits longest for its client; False when all are owed an answer."""
    waiting = [(connection.waits, connection) for connection in peers]
    silent = [c for waits, c in waiting if waits == "silent"]
    stuck = [c for waits, c in waiting if waits == "reading" and now - c.heard > ON_ITS_WAY_S]
    if silent:
        min(silent, key=lambda c: (c.has_asked, c.idle_since)).cut()
    elif stuck:
        min(stuck, key=lambda c: c.heard).cut()
    return bool(silent or stuck)


class BoundedProtocol(HttpToolsProtocol):
    """One connection of uvicorn's, and what it is waiting for."""

    def __init__(self, *args: Any, bounds: Bounds, trust: Trust | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bounds, self._trust = bounds, trust
        self._peers: set[Occupant] = cast("Any", self.connections)  # every connection here is one of ours
        self._reading: Literal["", "head", "body"] = ""  # what of a request has yet to come
        self._head_bytes = 0
        self._due = 0.0  # the request must be whole then; this and the rest by the loop's clock, seconds
        self.heard = self.idle_since = self.loop.time()  # the client's last byte; the last answer's end
        self._unsent, self._unsent_since = 0, 0.0
        self.has_asked = False  # ever, anything

    def connection_made(self, transport: Any) -> None:
        """Called by the transport: find a place, or turn the client away."""
        if not self._bounds.have_room(self._peers, self.heard):
            log.warning("a connection was turned away: %d are busy", len(self._peers))
            transport.write(_FULL)
            transport.close()
            self.parser = None  # nothing of it is read
            return
        self.app_state["trusted"] = self._trust is None or self._trust(transport.get_extra_info("socket"))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self.parser is None:
            return
        self.heard = self.loop.time()
        in_head = self._reading == "head"
        self._feed(data)
        if in_head and self._reading == "head":
            self._head_bytes += len(data)
            if self._head_bytes > self._bounds.head_bytes:
                self.send_400_response("The request's headers are too long.")

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest: bytes | memoryview = data
        try:
            while len(rest) and not self.transport.is_closing():
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    rest = memoryview(rest)[upgrade.args[0] :]
                    self._begin_without_upgrade()
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)

    def _begin_without_upgrade(self) -> None:
        """Read the headers as they would be without their offer of another protocol, which a server may pass over.

        Java's own client makes that offer with every request. The parser takes what follows the headers for the other
        protocol's; so it is begun anew, with the headers without the offer, and goes on where it stopped.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("Nothing is connected to from here.")
            return
        head = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [one for one in value.split(b",") if one.strip().lower() not in _OFFERS]
                value = b",".join(kept)
            if name not in _OFFERS:
                head.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))

    @property
    def offers_upgrade(self) -> bool:
        """Is the request that is being parsed to be read once more, without its offer of another protocol?"""
        return bool(self.parser.should_upgrade())

    def begin_reading(self) -> None:
        """A request begins: called by the parser's `on_message_begin`."""
        self._reading, self._head_bytes, self.has_asked = "head", 0, True
        self._due = self.heard + self._bounds.request_s

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self.begin_reading()
        super().on_message_begin()

    def head_is_here(self, length: bytes) -> None:
        """A request's headers are whole; `length` is what they say of the body's."""
        self._reading = "body"
        if len(length) < 6 and length.isdigit():
            return  # less than a second's worth
        most = self._bounds.body_bytes
        expected = min(int(length), most) if length.isdigit() and len(length) < 20 else most
        self._due += expected / self._bounds.body_bytes_per_s

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if self.offers_upgrade:
            return
        self.head_is_here(next((value for name, value in self.headers if name == b"content-length"), b""))
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self.offers_upgrade:
            return
        self._reading = ""
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called at the end of an answer."""
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        if self.flow is not None:  # else it was turned away
            super().connection_lost(exc)

    @property
    def waits(self) -> Literal["", "silent", "reading"]:
        """What the client is waited for: a request, or the rest of one; empty while it is the server's turn."""
        if self.cycle is not None and not self.cycle.response_complete:
            return "reading" if self._reading and not self.flow.read_paused and not self.pipeline else ""
        return "reading" if self._reading else "silent"

    def is_overdue(self, now: float) -> bool:
        """Has the client not done its part in time?"""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent:
                self._unsent, self._unsent_since = unsent, now
            return now - self._unsent_since > self._bounds.answer_s
        self._unsent = 0
        waits = self.waits
        if waits == "reading":
            return now > self._due or now - self.heard > self._bounds.request_s
        return waits == "silent" and now - self.idle_since > self._bounds.silent_s

    def cut(self) -> None:
        """End the connection now, whatever is under way."""
        self._peers.discard(self)
        self.transport.abort()


def cut_overdue(connections: Iterable[Occupant], now: float) -> None:
    """Cut every connection whose client has not done its part in time."""
    for connection in list(connections):
        if connection.is_overdue(now):
            connection.cut()
