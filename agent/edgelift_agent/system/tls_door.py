"""TLS before a connection's first request: who has not shaken hands yet holds a place among those that say nothing.

asyncio tells a protocol of a TLS connection only when its handshake is over; until then it would have a descriptor and no
place, for a minute. So a connection begins in the clear here, finds its place, and is turned into a TLS one at its first
bytes; who speaks plain HTTP is told so, and no more.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Any, Literal, cast

from edgelift_agent.system.connections import BoundedProtocol, Bounds, Occupant

log = logging.getLogger(__name__)

#: First byte of a TLS handshake (RFC 8446, 5.1).
_HANDSHAKE = 0x16
#: Of what a connection reads at once: a scraper asks little. asyncio's own 256 KiB are filled with zeros for each.
_BUFFER_BYTES = 16 * 1024
sslproto.SSLProtocol.max_size = _BUFFER_BYTES  # type: ignore[attr-defined]  # not in its stubs

_IN_THE_CLEAR = b'{"error":"This port speaks TLS alone.","code":"tls-failed","hint":"Ask by https://."}'
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
    % (len(_IN_THE_CLEAR), _IN_THE_CLEAR)
)


class TlsDoor(asyncio.Protocol):
    """A connection until it is a TLS one."""

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext | None],
        make: Callable[[], BoundedProtocol],
        peers: set[Occupant],
        bounds: Bounds,
    ) -> None:
        """Bind.

        Args:
            tls: for this connection; None where none can be spoken now, which ends it.
            make: gives its protocol once it is a TLS one.
            peers: all that hold a place.
            bounds: what a client may take.
        """
        self._tls, self._make, self._peers, self._bounds = tls, make, peers, bounds
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = b""
        self.heard = self.idle_since = self._loop.time()
        self.has_asked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find a place, or go: what could be said would have to be said in TLS."""
        self._transport = cast("asyncio.Transport", transport)
        if self._bounds.have_room(self._peers, self._loop.time()):
            self._peers.add(self)
        else:
            log.warning("a connection was turned away: all are busy")
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The client's first bytes; or, with the handshake's end, the beginning of a request."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._task is not None:
            self._early += data
        elif data[0] != _HANDSHAKE:
            transport.write(_ANSWER)
            transport.close()
        elif (tls := self._tls()) is None:
            transport.close()
        else:
            transport.pause_reading()  # what follows is TLS' own, which is not there before the next turns of the loop
            self._task = self._loop.create_task(self._shake(transport, tls, data))

    async def _shake(self, transport: asyncio.Transport, tls: ssl.SSLContext, first: bytes) -> None:
        shaking = self._loop.create_task(
            self._loop.start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=self._bounds.request_s
            )
        )
        try:
            await asyncio.sleep(0)  # `shaking` has given the transport its new protocol, and its beginning is due
            self._loop.call_soon(_feed, transport, first, self)
            made = await shaking
        except OSError as error:  # what TLS raises is one, too
            log.debug("no TLS: %s", error)
            transport.abort()
            return
        finally:
            self._peers.discard(self)
        if made is None or made.is_closing():
            transport.abort()
            return
        guest = self._make()
        made.set_protocol(guest)
        guest.connection_made(made)
        if self._early:
            guest.data_received(self._early)

    def connection_lost(self, _exc: Exception | None) -> None:
        """It is gone before it was one."""
        self._peers.discard(self)

    @property
    def waits(self) -> Literal["silent"]:
        """For the client, which has asked nothing yet."""
        return "silent"

    def is_overdue(self, now: float) -> bool:
        """Has it not shaken hands in time?"""
        patience_s = self._bounds.silent_s if self._task is None else self._bounds.request_s
        return now - self.heard > patience_s

    def cut(self) -> None:
        """End it now."""
        self._peers.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def shutdown(self) -> None:
        """Called by the server when it ends: nothing is owed to it."""
        self.cut()


def _feed(transport: asyncio.Transport, data: bytes, door: TlsDoor) -> None:
    """Hand what was read already to the protocol that took the door's place; asyncio's is another kind since Python 3.11."""
    protocol: Any = transport.get_protocol()
    if transport.is_closing() or protocol is door:
        return
    if not isinstance(protocol, asyncio.BufferedProtocol):
        protocol.data_received(data)
        return
    while data:
        buffer = memoryview(cast("bytearray", protocol.get_buffer(len(data))))
        taken = min(len(buffer), len(data))
        buffer[:taken] = data[:taken]
        protocol.buffer_updated(taken)
        data = data[taken:]
