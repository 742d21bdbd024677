"""The inference server: uvicorn on a thread of its own, on loopback TCP and, if wanted, a UNIX socket."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

from edgelift_agent.serving.http import InferenceApp
from edgelift_agent.system.disk import Disk
from edgelift_agent.system.sockets import bind_tcp, bind_unix
from edgelift_contract.errors import DeviceError


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
        backlog: int = 256,
        keep_alive_s: int = 5,
    ) -> None:
        """Bind the sockets at once, so that a port in use is known before anything else is done.

        Args:
            app: what answers.
            host: address to listen on.
            port: 0 for any that is free.
            unix_socket: to listen on too.
            disk: makes and removes the socket's name.
            backlog: connections that may wait to be accepted.
            keep_alive_s: after which a connection without a request is closed.

        Raises:
            DeviceError: `port-in-use`, `bad-config` or the disk's.
        """
        self._app, self._keep_alive_s = app, keep_alive_s
        self._sockets = [bind_tcp(host, port, backlog)]
        self.port: int = self._sockets[0].getsockname()[1]
        self._unix_socket, self._disk = unix_socket, disk or Disk()
        if unix_socket is not None:
            self._sockets.append(bind_unix(unix_socket, backlog, self._disk))
        self._server: Any = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference-server", daemon=True)

    def start(self) -> None:
        """Begin to serve; returns once requests are taken.

        Raises:
            DeviceError: `internal` when the server did not come up.
        """
        self._thread.start()
        if not self._started.wait(timeout=15) or not self._thread.is_alive():
            raise DeviceError("internal", "The inference server did not start.")

    def _run(self) -> None:
        import uvicorn  # late: status and doctor need no server

        from edgelift_agent.serving.direct import DirectProtocol

        protocol = partial(DirectProtocol, at_once=self._app.at_once, max_body_bytes=self._app.max_body_bytes)
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            http=cast("type[DirectProtocol]", protocol),
            ws="none",
            loop="asyncio",
            timeout_keep_alive=self._keep_alive_s,
            # Nothing on loopback stands behind a proxy or reads a date: each costs every request some microseconds.
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None

        async def serve() -> None:
            task = asyncio.ensure_future(self._server._serve(self._sockets))
            while not self._server.started and not task.done():
                await asyncio.sleep(0.01)
            self._started.set()
            await task

        asyncio.run(serve())

    def stop(self) -> None:
        """Take no more requests, answer those under way, end the thread."""
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join(timeout=10)
        for sock in self._sockets:
            sock.close()
        if self._unix_socket is not None:
            with suppress(DeviceError):  # the next start replaces it
                self._disk.unlink(self._unix_socket)
