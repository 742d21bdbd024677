"""The control plane's mark on every answer, so that devices can tell its word from a portal's or a proxy's."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelift_contract.replies import MARK, MARK_VALUE

_HEADER = (MARK.lower().encode(), MARK_VALUE.encode())


class Marked:
    """Middleware: adds the mark to whatever `app` answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = [*message.get("headers", ()), _HEADER]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)
