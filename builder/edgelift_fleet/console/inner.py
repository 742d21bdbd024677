"""The API, asked from within the server: a page changes nothing by itself.

What a form orders is the very operation that a command calls, with the session's own token: one place judges roles,
bodies and conditions, and one log tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message

from edgelift_contract import codec
from edgelift_fleet.api.operators import REASON

_PASSED_ON = (b"host", b"user-agent")


@dataclass(frozen=True)
class Answered:
    """What the API answered.

    Attributes:
        status: of HTTP.
        body: JSON.
    """

    status: int
    body: bytes

    @property
    def refused(self) -> bool:
        """It was not done; `body` is a `Problem`."""
        return self.status >= 400


class Inner:
    """Asks an application that runs in this very process."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def ask(
        self,
        request: Request,
        token: str,
        method: str,
        path: str,
        asked: Any = None,
        *,
        why: str = "",
        key: str = "",
    ) -> Answered:
        """Have an operation carried out in the name of whoever looks at a page.

        Args:
            request: theirs, for the address that is logged.
            token: of their session.
            method: of the operation.
            path: of the operation, as it is written in an address, without a query.
            asked: its body, a message; None for none.
            why: the reason that they gave.
            key: tells a form that is sent twice from two forms.
        """
        body = b"" if asked is None else codec.canonical_json(asked)
        headers = [pair for pair in request.scope["headers"] if pair[0] in _PASSED_ON]
        headers += [(b"authorization", f"Bearer {token}".encode("latin-1", "replace"))]
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if why:
            headers.append((REASON.lower().encode(), quote(why).encode()))
        if key:
            headers.append((b"idempotency-key", key.encode("ascii", "replace")))
        scope = {
            "type": "http", "asgi": request.scope.get("asgi", {"version": "3.0"}), "http_version": "1.1", "method": method,
            "scheme": request.scope["scheme"], "path": path, "raw_path": path.encode("ascii", "replace"),
            "query_string": b"", "root_path": "", "headers": headers, "client": request.scope.get("client"),
            "server": request.scope.get("server"), "state": dict(request.scope.get("state", {})),
        }  # fmt: skip
        return await self._carried_out(scope, body)

    async def _carried_out(self, scope: dict[str, Any], body: bytes) -> Answered:
        pieces: list[bytes] = []
        status = 500

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                pieces.append(message.get("body", b""))

        await self._api(scope, receive, send)
        return Answered(status, b"".join(pieces))


def read(answered: Answered, kind: Any) -> Any:
    """An answer as the message that it is."""
    return msgspec.json.decode(answered.body, type=kind)
