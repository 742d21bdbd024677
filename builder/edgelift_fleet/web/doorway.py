"""TLS before a connection's first request: the handshake holds a place, like everything that a client may take.

asyncio tells a protocol of a TLS connection only when its handshake is over; until then it would have a descriptor and
no place, for a minute. So a connection begins in the clear, finds its place among those that showed nothing yet, and is
turned into a TLS one then.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from edgelift_fleet.suspicions import SUSPICIONS
from edgelift_fleet.web.places import Places
from edgelift_fleet.web.protocol import Connected, GuestProtocol

log = logging.getLogger(__name__)


class Doorway(asyncio.Protocol):
    """A connection until it is a TLS one."""

    def __init__(
        self, tls: ssl.SSLContext, make: Callable[[], GuestProtocol], places: Places[Connected], handshake_s: float
    ) -> None:
        self._tls, self._make, self._places, self._handshake_s = tls, make, places, handshake_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early, self._address = b"", ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find a place, and begin the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else ""
        has_place, goes = self._places.come(self, self._address, self._loop.time())
        if goes is not None:
            goes.give_way()
        if not has_place:
            transport.abort()  # what could be said would have to be said in TLS
            return
        self._task = self._loop.create_task(self._shake(transport))

    async def _shake(self, transport: asyncio.Transport) -> None:
        try:
            made = await self._loop.start_tls(
                transport, self, self._tls, server_side=True, ssl_handshake_timeout=self._handshake_s
            )
        except (OSError, asyncio.CancelledError) as error:  # what TLS raises is an OSError
            log.debug("no TLS: %s", error)
            if isinstance(error, ssl.SSLCertVerificationError):
                what = f"A certificate was shown that this site's authority did not sign: {error.verify_message}."
                SUSPICIONS.note(self._address, "tls-failed", what)
            transport.abort()
            return
        finally:
            self._places.leave(self)
        if made is None or made.is_closing():
            transport.abort()
            return
        guest = self._make()
        made.set_protocol(guest)
        guest.connection_made(made)
        if self._early:
            guest.data_received(self._early)

    def data_received(self, data: bytes) -> None:
        """The beginning of a request, which came with the handshake's end: its protocol is not there yet."""
        self._early += data

    def connection_lost(self, _exc: Exception | None) -> None:
        """It is gone before it was one."""
        self._places.leave(self)

    def give_way(self) -> None:
        """Another needs the place."""
        self.cut()

    def cut(self) -> None:
        """End it now."""
        self._places.leave(self)
        if self._transport is not None:
            self._transport.abort()

    def is_overdue(self, now: float, patience_s: float) -> bool:  # noqa: ARG002 - the handshake's own time-out ends it
        """Never: the handshake has a time-out of its own."""
        return False
