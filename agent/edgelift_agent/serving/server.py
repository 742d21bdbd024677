"""The inference server: a thread of its own, on loopback TCP and, if wanted, a UNIX socket."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.sockets import bind_tcp, bind_unix
from edgelift_agent.system.web import BACKLOG, HttpSite, WebServer
from edgelift_contract.errors import DeviceError

if TYPE_CHECKING:
    from edgelift_agent.serving.direct import DirectProtocol

#: How long requests under way may take to be answered when the agent stops, seconds; then their clients are cut off.
STOP_DRAIN_S = 5.0


class Server:
    """Serves the inference application until `stop`."""

    def __init__(
        self,
        app: InferenceApp,
        *,
        host: str,
        port: int,
        unix_socket: Path | None = None,
        disk: Disk | None = None,
        keep_alive_s: float = 5.0,
        max_connections: int = 256,
        request_timeout_s: float = 10.0,
        answer_timeout_s: float = 10.0,
    ) -> None:
        """Bind the port at once, so that one in use is known before anything else is done.

        Args:
            app: what answers.
            host: address to listen on.
            port: 0 for any that is free.
            unix_socket: to listen on too, from `open_unix` on.
            disk: makes and removes the socket's name.
            keep_alive_s: after which a connection without a request is closed.
            max_connections: see `Bounds`, as for what follows.
            request_timeout_s: for a request to come.
            answer_timeout_s: for some of an answer to be taken.

        Raises:
            DeviceError: `port-in-use` or `bad-config`.
        """
        from edgelift_agent.system.connections import Bounds  # late: brings uvicorn

        self._app = app
        listening = bind_tcp(host, port, BACKLOG)
        self.port: int = listening.getsockname()[1]
        self._unix_socket, self._disk = unix_socket, disk or Disk()
        self._has_unix = False
        bounds = Bounds(
            connections=max_connections,
            silent_s=keep_alive_s,
            request_s=request_timeout_s,
            body_bytes=app.max_body_bytes,
            answer_s=answer_timeout_s,
        )
        self._site = HttpSite(app, [listening], bounds, self._protocol)
        self._web = WebServer("inference-server", [self._site])

    def open_unix(self) -> None:
        """Listen on the UNIX socket too, where one is wanted and its name is not there; before or after `start`.

        Raises:
            DeviceError: the disk's, or `bad-config`.
        """
        if self._unix_socket is not None and not (self._has_unix and os.path.lexists(self._unix_socket)):
            self._web.listen(self._site, bind_unix(self._unix_socket, BACKLOG, self._disk))
            self._has_unix = True

    def _protocol(self) -> partial[DirectProtocol]:
        from edgelift_agent.serving.direct import DirectProtocol

        return partial(DirectProtocol, at_once=self._app.at_once, max_body_bytes=self._app.max_body_bytes)

    def start(self) -> None:
        """Begin to serve; returns once requests are taken.

        Raises:
            DeviceError: `internal` when the server did not come up.
        """
        self._web.start()

    def stop(self, drain_s: float = STOP_DRAIN_S) -> None:
        """Take no more requests, answer those under way for so long, end the thread."""
        self._web.stop(drain_s)
        if self._unix_socket is not None and self._has_unix:
            with suppress(DeviceError):
                self._disk.unlink(self._unix_socket)
