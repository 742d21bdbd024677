"""A slash that is written `%2F` is part of a name, not a border between two: no id reaches into another path by it."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASH = re.compile(rb"%2f", re.IGNORECASE)


class Slashed:
    """Middleware: what servers decode into a border stays as it was written, and no name that we know has it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        raw: bytes = scope.get("raw_path") or b""
        if b"%2" in raw and _SLASH.search(raw):
            kept = _SLASH.sub(b"%252F", raw.partition(b"?")[0])
            scope = {**scope, "path": unquote(kept.decode("latin-1"))}
        await self._app(scope, receive, send)
