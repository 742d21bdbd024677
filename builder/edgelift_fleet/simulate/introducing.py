"""A simulated board's way to the control plane: by a token at first, and by its own certificate where it is given one."""

from __future__ import annotations

import ssl
from typing import Protocol

from edgelift_contract import codec
from edgelift_contract.enrol import EnrolReply
from edgelift_fleet.simulate.http import Address, HttpAnswer, HttpConnection, source_of
from edgelift_fleet.simulate.identity import BoardIdentity


class Introduce(Protocol):
    """Sends an introduction."""

    async def __call__(self, body: bytes, /) -> HttpAnswer:
        """Its answer; raises OSError to try again, `Refused` for good."""


class Introduced(Protocol):
    """Whoever is introduced."""

    name: str

    def enrolment(self, csr: str = "") -> bytes:
        """Its introduction; with a request for a certificate where it needs one."""


class Introducing:
    """Of one board.

    Attributes:
        asking, telling: its two connections.
        tls: shows the board's certificate; None while it has none.
    """

    def __init__(self, board: Introduced, address: Address, *, patience_s: float = 60.0) -> None:
        """Bind; `patience_s` as of `HttpConnection`."""
        self._board, self._address = board, address
        source = source_of(address, board.name)
        self.asking, self.telling = (
            HttpConnection(address, patience_s=patience_s, source=source) for _ in range(2)
        )
        self.tls: ssl.SSLContext | None = None
        self._identity: BoardIdentity | None = None
        if address.boards is not None:
            self._identity = BoardIdentity(address.boards, board.name, address.authorities)
            self._show(self._identity.context())

    async def introduce(self, send: Introduce) -> EnrolReply:
        """Say who this is; ask for a certificate where it has none, or its own one ends soon. Raises as `send`."""
        reply = await self._said(send, certify=self._identity is not None and self.tls is None)
        if reply.certify and self.tls is not None:
            reply = await self._said(send, certify=True)
        return reply

    async def _said(self, send: Introduce, *, certify: bool) -> EnrolReply:
        own = self._identity
        csr = own.request() if certify and own is not None else ""
        reply = codec.decode_json(
            (await send(self._board.enrolment(csr))).body, EnrolReply, what="enrolment reply"
        )
        if own is None or not csr or reply.identity is None:
            return reply
        own.take(reply.identity)
        self._show(own.context())
        return await self._said(send, certify=False)  # once by the certificate, before it counts

    def _show(self, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        if tls is not None:
            for one in (self.asking, self.telling):
                one.readdress(self._address.by(tls))
