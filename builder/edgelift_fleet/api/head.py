"""HEAD wherever GET is (RFC 9110 §9.3.2): the same answer without its body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class OnlyHeaders(Exception):
    """Ends an answer after its headers. Of a kind that nobody handles on its way here: the answer has begun."""


class Headed:
    """Middleware: `app` is asked as by GET, and its answer ends with its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                raise OnlyHeaders

        try:
            await self._app({**scope, "method": "GET"}, receive, without_body)
        except OnlyHeaders:
            pass
