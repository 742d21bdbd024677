"""The administrator's side: metrics on loopback TCP, status and commands on a UNIX socket of the agent's user.

Apart from inference in port and thread, so that neither can hold up the other. Commands change the device, so
they are reachable only through the socket, whose folder only the agent's user and root may enter.
"""

from __future__ import annotations

import http.client
import http.server
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.system.sockets import connect_admin, is_trusted
from edgelift_contract.errors import DeviceError, EdgeliftError

_REFUSED = "Permission denied: the agent answers root and its own user alone."

#: A route's handler takes the request's JSON and gives what is answered: text, or what JSON can hold.
Handler = Callable[[dict[str, Any]], Any]


class _Request(http.server.BaseHTTPRequestHandler):
    """Looks a route up and answers."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        """Answer a question."""
        self._answer({})

    def do_POST(self) -> None:
        """Carry out a command."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > 65536:
            self._reply(413, b"{}")
            return
        body = self.rfile.read(length)
        try:
            self._answer(msgspec.json.decode(body, type=dict[str, Any]) if body else {})
        except msgspec.MsgspecError:
            self._reply(400, b'{"error":"the body is not JSON"}')

    def _answer(self, arguments: dict[str, Any]) -> None:
        if self.connection.family == socket.AF_UNIX and not is_trusted(self.connection):
            self._reply(403, msgspec.json.encode({"error": _REFUSED, "code": "not-allowed", "hint": "Use sudo."}))
            return
        handler = self.server.routes.get(f"{self.command} {self.path}")
        if handler is None:
            self._reply(404, b'{"error":"there is nothing here"}')
            return
        try:
            answer = handler(arguments)
        except EdgeliftError as error:
            self._reply(409, msgspec.json.encode({"error": error.message, "code": error.code, "hint": error.hint}))
            return
        if isinstance(answer, str):
            self._reply(200, answer.encode(), "text/plain; version=0.0.4")
        else:
            self._reply(200, msgspec.json.encode(answer))

    def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Say nothing: a scrape every few seconds is no news."""

    def address_string(self) -> str:
        """A UNIX peer has no address."""
        return "local"


class _Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """A server on a socket that is bound already."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, sock: socket.socket, routes: dict[str, Handler]) -> None:
        super().__init__(sock.getsockname(), _Request)
        self.socket, self.routes = sock, routes

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle is no news."""

    def fileno(self) -> int:
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = self.socket.accept()
        return connection, address or ("local", 0)


class AdminServer:
    """Both sides, each on a thread."""

    def __init__(self) -> None:
        self._servers: list[_Server] = []

    def serve(self, sock: socket.socket, routes: dict[str, Handler]) -> None:
        """Answer `routes` (`"GET /metrics"` → handler) on a listening socket."""
        server = _Server(sock, routes)
        # A long poll interval: the thread sleeps until a connection comes or `stop` wakes it.
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 3600}, name="admin", daemon=True
        ).start()
        self._servers.append(server)

    def stop(self) -> None:
        """Take no more connections."""
        for server in self._servers:
            server.socket.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a TCP connection."""
        self.sock = connect_admin(self._path, self.timeout)


def ask(
    path: Path, method: str, route: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = 30.0
) -> Any:
    """Ask the running agent, as `edgelift-agent status` does.

    Raises:
        DeviceError: `not-allowed` for a user who may not ask; `not-serving` when no agent runs; else what the
            agent answered.
    """
    connection = _UnixConnection(path, timeout_s)
    try:
        connection.request(method, route, body=msgspec.json.encode(arguments) if arguments else None)
        response = connection.getresponse()
        body = response.read()
    except PermissionError as error:
        raise DeviceError("not-allowed", f"Permission denied at {path}.", hint="Use sudo.") from error
    except OSError as error:
        raise DeviceError(
            "not-serving", f"No agent answers at {path}.", hint="Is it running? systemctl status edgelift-agent"
        ) from error
    finally:
        connection.close()
    answer = msgspec.json.decode(body) if body else None
    if response.status != 200:
        code = str(answer.get("code", "internal")) if isinstance(answer, dict) else "internal"
        message = str(answer.get("error", body)) if isinstance(answer, dict) else str(body)
        hint = str(answer.get("hint", "")) if isinstance(answer, dict) else ""
        raise DeviceError(code, message, hint=hint)
    return answer
