"""Who may come in, and how much they may bring: judged before a body is read."""

from __future__ import annotations

import hmac

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from edgelift_contract.errors import ContractError, TransportError


class RequireBearer(HTTPBearer):
    """A dependency that lets a request pass only with one bearer token, and draws itself in OpenAPI."""

    def __init__(self, token: str, *, name: str) -> None:
        """Bind to a token; `name` tells a person which token is wanted."""
        super().__init__(auto_error=False, scheme_name=name.replace(" ", "-"))
        self._wanted, self._name = token.encode(), name

    async def __call__(self, request: HTTPConnection) -> None:
        """Judge one request; raises TransportError `not-authorised`."""
        given = await super().__call__(request)
        if given is None:
            raise TransportError("not-authorised", f"This needs the {self._name} as bearer token; none was given.")
        if not hmac.compare_digest(given.credentials.encode(), self._wanted):
            raise TransportError("not-authorised", f"The token is not this site's {self._name}.")


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body, if it has at most `limit_bytes`.

    A length that is announced is judged before anything is read; one that isn't, while reading.

    Raises:
        ContractError: `too-large`, or `malformed` for a length that is no number.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit():
        raise ContractError("malformed", "The request's Content-Length is not a number.")
    _bound(int(announced), limit_bytes)
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
