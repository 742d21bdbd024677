"""HTTP servers on one thread: ASGI applications on sockets that are bound already, with uvicorn's protocol.

uvicorn's own `Server` looks ten times a second whether to end, handles the process's signals, and ends when the last
client lets it; here the thread sleeps until something comes, and a stop is over when its time is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from edgelift_agent.system.standby import begin
from edgelift_contract.errors import DeviceError

if TYPE_CHECKING:
    from edgelift_agent.system.connections import BoundedProtocol, Bounds

log = logging.getLogger(__name__)

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

#: Connections that are taken over at once, each of which has a descriptor before its place is looked for.
BACKLOG = 128
#: At a stop: a request half sent is waited for while its client goes on sending, at most this between two pieces, seconds.
PAUSE_AT_STOP_S = 1.0
_LOOK_AT_STOP_S = 0.02
#: Rounds of the loop after which a connection that was accepted is one of its site's.
_ROUNDS_TO_CONNECT = 4


class HttpSite:
    """One application on some sockets, with bounds of its own."""

    def __init__(
        self,
        app: App,
        sockets: list[socket.socket],
        bounds: Bounds,
        protocol: Callable[[], Callable[..., BoundedProtocol]] | None = None,
        *,
        trust: Callable[[socket.socket], bool] | None = None,
        tls: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        """Bind.

        Args:
            app: what answers.
            sockets: to listen on.
            bounds: what clients may take.
            protocol: gives the class of a connection once the thread runs; a plain bounded one by default.
            trust: judges each connection; the application finds its word as `trusted` in the scope's state.
            tls: speak TLS by this, asked for with each connection, and nothing else.
        """
        self.app, self.sockets, self.bounds, self._protocol = app, sockets, bounds, protocol
        self._trust, self._tls = trust, tls
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._connection: Callable[[], asyncio.Protocol] | None = None
        self._listeners: list[asyncio.AbstractServer] = []

    async def open(self) -> None:
        """Listen."""
        import uvicorn  # late: status and doctor need no server
        from uvicorn.server import ServerState

        from edgelift_agent.system.connections import BoundedProtocol

        made: Callable[..., BoundedProtocol] = self._protocol() if self._protocol else BoundedProtocol
        # Nothing on a device stands behind a proxy or reads a date: each costs every request some microseconds.
        config = uvicorn.Config(
            self.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            timeout_keep_alive=max(1, round(self.bounds.silent_s)),
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        config.load()
        state = ServerState()
        self.connections, self.tasks = state.connections, state.tasks
        loop = asyncio.get_running_loop()

        def connection() -> BoundedProtocol:
            return made(
                config=config, server_state=state, app_state={}, _loop=loop, bounds=self.bounds, trust=self._trust
            )

        self._connection = self._watched(loop, self._behind_door(connection))
        for sock in self.sockets:
            await self._listen(sock)

    def _behind_door(self, connection: Callable[[], BoundedProtocol]) -> Callable[[], asyncio.Protocol]:
        if self._tls is None:
            return connection
        from edgelift_agent.system.tls_door import TlsDoor

        return partial(TlsDoor, self._tls, connection, self.connections, self.bounds)

    def _watched(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        def made() -> asyncio.Protocol:
            if self._looking is None:
                self._look_later(loop)
            return make()

        return made

    async def open_also(self, sock: socket.socket) -> None:
        """Listen on one more socket, after `open`."""
        self.sockets.append(sock)
        await self._listen(sock)

    async def _listen(self, sock: socket.socket) -> None:
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_server(self._connection, sock=sock, backlog=BACKLOG))

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        from edgelift_agent.system.connections import LOOK_EVERY_S

        self._looking = loop.call_later(LOOK_EVERY_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        from edgelift_agent.system.connections import cut_overdue

        cut_overdue(self.connections, loop.time())
        self._looking = None
        if self.connections:
            self._look_later(loop)

    def take_no_more(self) -> None:
        """Accept no more connections."""
        for listener in self._listeners:
            listener.close()

    def begin_to_end(self) -> None:
        """Close connections that nothing is under way on; the others close with their answer."""
        for connection in list(self.connections):
            connection.shutdown()

    def end_what_is_hung(self, now: float) -> bool:
        """Cut requests whose rest doesn't come; returns whether all is over."""
        for connection in list(self.connections):
            if connection.waits and now - connection.heard > PAUSE_AT_STOP_S:
                connection.cut()
        return not self.connections and not self.tasks

    def end(self) -> None:
        """Cut what is left."""
        for connection in list(self.connections):
            connection.cut()
        for task in list(self.tasks):
            task.cancel()
        if self._looking is not None:
            self._looking.cancel()


class WebServer:
    """Serves its sites on a thread until `stop`."""

    def __init__(self, name: str, sites: list[HttpSite]) -> None:
        """`name`: the thread's."""
        self._sites = sites
        self._started = threading.Event()
        self._stop: asyncio.Future[float] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=name, daemon=True)

    def start(self) -> None:
        """Begin to serve; returns once requests are taken.

        Raises:
            DeviceError: `internal` when the server did not come up.
        """
        begin(self._thread)
        while not self._started.wait(timeout=0.2):
            if not self._thread.is_alive():
                raise DeviceError("internal", f"The {self._thread.name} did not start.")

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        for site in self._sites:
            await site.open()
        self._started.set()
        drain_s = await self._stop
        for site in self._sites:
            site.take_no_more()
        for _ in range(_ROUNDS_TO_CONNECT):
            await asyncio.sleep(0)
        for site in self._sites:
            site.begin_to_end()
        until = self._loop.time() + drain_s
        while (now := self._loop.time()) < until:
            over = [site.end_what_is_hung(now) for site in self._sites]  # every one, each time
            if all(over):
                break
            await asyncio.sleep(_LOOK_AT_STOP_S)
        for site in self._sites:
            site.end()
        await asyncio.sleep(0)  # the cut connections' last callbacks

    def listen(self, site: HttpSite, sock: socket.socket) -> None:
        """Have a site take requests on one more socket; before or after `start`."""
        if self._loop is None:
            site.sockets.append(sock)
        else:
            asyncio.run_coroutine_threadsafe(site.open_also(sock), self._loop)

    def stop(self, drain_s: float) -> None:
        """Take no more requests, answer those under way for at most `drain_s` seconds, end the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set_result, drain_s)
            self._thread.join(timeout=drain_s + 5)
            if self._thread.is_alive():
                log.warning("%s did not end within %g s of being told to.", self._thread.name, drain_s + 5)
        for site in self._sites:
            for sock in site.sockets:
                sock.close()
