"""uvicorn on a thread of its own: signals and the order of stopping are its owner's, the bounds of connections ours."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from edgelift_contract.errors import DeviceError
from edgelift_fleet.web.doorway import Doorway
from edgelift_fleet.web.places import Places
from edgelift_fleet.web.protocol import Allowance, Connected, GuestProtocol, cut_overdue

log = logging.getLogger(__name__)

#: Connections that are taken over at once, each of which has a descriptor before its place is looked for.
_AT_ONCE = 128
#: Connections that the system holds until they are taken over: a whole fleet comes back at once after a power cut.
_BACKLOG = 4096
#: How often overdue connections are looked for, in uvicorn's ticks of 0.1 s.
_LOOK_TICKS = 10


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, places: Places[Connected], allowance: Allowance) -> None:
        super().__init__(config)
        self._places, self._allowance = places, allowance
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % _LOOK_TICKS == 0:
            try:
                cut_overdue(self._places, self._allowance, time.monotonic())
            except Exception:
                log.exception("a fault while looking for overdue connections")  # it must not end the server
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in self._places.those("new"):
            connection.cut()  # nothing is owed to them, and they would be waited for
        await super().shutdown(sockets)


class HttpServer:
    """Serves an application on a listening socket. A context: requests are taken inside the block."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        places: int,
        grace_s: int,
        allowance: Allowance | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        """Bind.

        Args:
            app: what answers.
            listener: of this server, for good.
            places: connections at once; half of them for one address.
            grace_s: how long answers that are under way may take at the end, seconds.
            allowance: what a client may take.
            tls: speak TLS by this, asked for with each connection, and nothing else.
            proxies: addresses and networks of what stands before it: they alone are believed whom a request came from.
        """
        allowance = allowance or Allowance()
        self.places = places
        self._connections: Places[Connected] = Places(places, max(1, places // 2))
        made: Any = functools.partial(GuestProtocol, allowance=allowance, places=self._connections)
        if tls is not None:
            made = functools.partial(_doorway, tls, made, self._connections, allowance.silent_s)
        config = uvicorn.Config(
            app, http=made, log_config=None, access_log=False, server_header=False, ws="none", lifespan="off",
            loop="asyncio", timeout_graceful_shutdown=grace_s, backlog=_AT_ONCE,
            # Said in any case: uvicorn's own choice is to believe everybody on this machine.
            proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
        )  # fmt: skip
        self._server = _Server(config, self._connections, allowance)
        self._listener, self._grace_s = listener, grace_s
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )

    def __len__(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def end(self, devices: Collection[str] | None) -> None:
        """End all connections of these devices, or of all, whatever is under way; from any thread."""
        if (loop := self._server.loop) is not None:
            with suppress(RuntimeError):  # it has stopped
                loop.call_soon_threadsafe(self._end, devices)

    def _end(self, devices: Collection[str] | None) -> None:
        for doing in ("new", "idle", "parked", "busy"):
            for connection in self._connections.those(doing):
                if not isinstance(connection, GuestProtocol) or not connection.device:
                    continue
                if devices is None or connection.device in devices:
                    connection.cut()

    def __enter__(self) -> HttpServer:
        logging.getLogger("uvicorn.error").setLevel(
            logging.ERROR
        )  # a line for each request that is none fills disks
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise DeviceError("internal", "The HTTP server did not start.", hint="See its log.")
            time.sleep(0.01)
        self._listener.listen(_BACKLOG)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(self._grace_s + 1)


def _doorway(
    tls: Callable[[], ssl.SSLContext], make: Any, places: Places[Connected], handshake_s: float, **options: Any
) -> Doorway:
    """What uvicorn makes for each connection of a server that speaks TLS."""
    return Doorway(tls(), functools.partial(make, **options), places, handshake_s)
