"""Who may come in, and how much they may bring: judged before a body is read."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.types import Scope

from edgelift_contract.errors import ContractError, TransportError


class Connection(Protocol):
    """What the server below is told of the connection that a request came over, and tells of it.

    Attributes:
        certificate: that its client showed and TLS verified, as DER; empty for none.
    """

    certificate: bytes

    def let_in(self, device: str = "") -> None:
        """Its client showed a valid token, or the certificate of a device."""

    def park(self, release: Callable[[], None]) -> None:
        """The request waits; `release` is called when its client is gone or its place is needed."""

    def unpark(self) -> None:
        """It waits no longer."""


class _Unbounded:
    """A connection of a server that keeps no places, as in a test client."""

    certificate = b""

    def let_in(self, device: str = "") -> None: ...

    def park(self, release: Callable[[], None]) -> None: ...

    def unpark(self) -> None: ...


_UNBOUNDED = _Unbounded()


def connection_of(scope: Scope) -> Connection:
    """The connection that a request came over."""
    found: Connection = scope.get("state", {}).get("connection", _UNBOUNDED)
    return found


class Bearer:
    """The one bearer token that lets a request in."""

    def __init__(self, token: str, *, name: str) -> None:
        """Bind to a token; `name` tells a person which token is wanted."""
        self.name, self._wanted, self._whole = name, token.encode(), b"Bearer " + token.encode()

    def judge(self, scope: Scope) -> None:
        """Judge a request and tell its connection that it may stay; raises TransportError `not-authorised`."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, self._whole):  # as every client of ours writes it
            self._judge_other(given)
        connection_of(scope).let_in()

    def _judge_other(self, given: bytes) -> None:
        scheme, _, token = given.partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise TransportError("not-authorised", f"This needs the {self.name} as bearer token; none was given.")
        if not hmac.compare_digest(token.strip(), self._wanted):
            raise TransportError("not-authorised", f"The token is not this site's {self.name}.")


def announced_bytes(request: Request, limit_bytes: int) -> int:
    """The length that the body will have, or the most that it may have where that isn't said. Raises as `read_body`."""
    announced = request.headers.get("content-length")
    if announced is None:
        return limit_bytes if "transfer-encoding" in request.headers else 0
    if not (announced.isascii() and announced.isdigit()):
        raise ContractError("malformed", "The request's Content-Length is not a number.")
    _bound(int(announced), limit_bytes)
    return int(announced)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body, if it has at most `limit_bytes`.

    A length that is announced is judged before anything is read; one that isn't, while reading.

    Raises:
        ContractError: `too-large`, or `malformed` for a length that is no number.
    """
    announced_bytes(request, limit_bytes)
    body = bytearray()
    async for piece in request.stream():
        _bound(len(body) + len(piece), limit_bytes)
        body += piece
    return bytes(body)


def _bound(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        raise ContractError(
            "too-large", f"The request's body has more than {limit_bytes} bytes.", hint="Send less at once."
        )
