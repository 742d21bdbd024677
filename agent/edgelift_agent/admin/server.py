"""The administrator's side: metrics on TCP, beyond loopback by a token and TLS; status and commands on a UNIX socket.

Apart from inference in port and thread, so that neither can hold up the other. Commands change the device, so
they are reachable only through the socket, the agent's user's, whose folder only the agent's user and root may enter.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from edgelift_agent.system.sockets import is_trusted
from edgelift_agent.system.standby import StandbyThreads
from edgelift_agent.system.web import HttpSite, WebServer
from edgelift_contract.errors import EdgeliftError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdminRequest:
    """A request: its body's JSON, and what its `Accept` says."""

    arguments: dict[str, Any]
    accept: str = ""


@dataclass(frozen=True)
class Text:
    """An answer that is no JSON, and its media type."""

    body: bytes
    kind: bytes


#: A route's handler gives what is answered: a `Text`, or what JSON can hold.
Handler = Callable[[AdminRequest], Any]
Answer = tuple[int, bytes, bytes]  # status, body, media type

#: What an administrator's clients may take: a scraper, a person, and room for their mistakes.
MAX_CONNECTIONS, MAX_BODY_BYTES = 32, 65536
#: Threads of each side: handlers may wait for the worker.
THREADS = 4
#: How long an answer under way may take when the agent stops, seconds.
STOP_DRAIN_S = 1.0

_REFUSED = {
    "error": "Permission denied: the agent answers root and its own user alone.",
    "code": "not-allowed",
    "hint": "Use sudo.",
}
_NO_TOKEN = {
    "error": "This needs the token of serve.admin_token_file as bearer.",
    "code": "not-authorised",
    "hint": "Prometheus: authorization with credentials_file.",
}
_JSON = b"application/json"


class AdminApp:
    """Looks a route up and answers: an ASGI application."""

    def __init__(self, routes: dict[str, Handler], threads: StandbyThreads, token: str = "") -> None:
        """`routes`: `"GET /metrics"` → handler, which may block: it is called on one of `threads`. Whoever asks must show
        `token`, where there is one.
        """
        self._routes, self._threads, self._token = routes, threads, token.encode()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """See the ASGI specification; `lifespan` is not spoken."""
        if scope["type"] != "http":
            return
        given, more = dict(scope["headers"]), []
        if not scope["state"]["trusted"]:
            status, body, kind = 403, msgspec.json.encode(_REFUSED), _JSON
        elif not self._shows_token(given):
            status, body, kind = 401, msgspec.json.encode(_NO_TOKEN), _JSON
            more = [(b"www-authenticate", b"Bearer")]
        else:
            accept = given.get(b"accept", b"").decode("latin-1")
            status, body, kind = await self._answer(scope["method"], scope["path"], accept, receive)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _shows_token(self, headers: dict[bytes, bytes]) -> bool:
        if not self._token:
            return True
        scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(shown.strip(), self._token)

    async def _answer(self, method: str, path: str, accept: str, receive: Any) -> Answer:
        handler = self._routes.get(f"{method} {path}")
        if handler is None:
            return 404, b'{"error":"there is nothing here"}', _JSON
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                return 413, b'{"error":"the body is too long"}', _JSON
        try:
            arguments = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return 400, b'{"error":"the body is not a JSON object"}', _JSON
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _handle, handler, AdminRequest(arguments, accept)
        )


def _handle(handler: Handler, asked: AdminRequest) -> Answer:
    try:
        answer = handler(asked)
    except EdgeliftError as error:
        return 409, msgspec.json.encode({"error": error.message, "code": error.code, "hint": error.hint}), _JSON
    except Exception as error:
        log.exception("an administrator's question failed")
        return 500, msgspec.json.encode({"error": str(error), "code": "internal"}), _JSON
    return (
        (200, answer.body, answer.kind) if isinstance(answer, Text) else (200, msgspec.json.encode(answer), _JSON)
    )


class AdminServer:
    """Both sides, on one thread."""

    def __init__(self) -> None:
        self._sites: list[HttpSite] = []
        self._threads: list[StandbyThreads] = []
        self._web: WebServer | None = None

    def add(
        self,
        sockets: list[socket.socket],
        routes: dict[str, Handler],
        *,
        token: str = "",
        tls: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        """Have `routes` answered on listening sockets of one kind, from `start` on; to whoever shows `token`, if there is
        one, and by TLS alone where `tls` gives it.

        Raises:
            DeviceError: `no-memory`.
        """
        from edgelift_agent.system.connections import Bounds  # late: brings uvicorn

        bounds = Bounds(connections=MAX_CONNECTIONS, body_bytes=MAX_BODY_BYTES)
        trust = is_trusted if sockets[0].family == socket.AF_UNIX else None
        self._threads.append(StandbyThreads(THREADS, "admin-answer"))
        app = AdminApp(routes, self._threads[-1], token)
        self._sites.append(HttpSite(app, sockets, bounds, trust=trust, tls=tls))

    def start(self) -> None:
        """Answer; returns once requests are taken.

        Raises:
            DeviceError: `internal` when the server did not come up.
        """
        self._web = WebServer("admin", self._sites)
        self._web.start()

    def stop(self) -> None:
        """Take no more connections."""
        if self._web is not None:
            self._web.stop(STOP_DRAIN_S)
        for threads in self._threads:
            threads.shutdown(wait=False, cancel_futures=True)  # who is asked something long holds up no stop
