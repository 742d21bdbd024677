"""One address before several servers: each connection goes to the next server that takes it."""

from __future__ import annotations

import contextlib
import itertools
import socket
from urllib.parse import urlsplit

from tests.simulators.relay import Relay


class Balancer(Relay):
    """A TCP balancer on a free loopback port. A context."""

    def __init__(self, *urls: str) -> None:
        super().__init__()
        self._targets = [(parts.hostname, parts.port) for parts in map(urlsplit, urls)]
        self._turns = itertools.cycle(self._targets)
        self.url = f"http://127.0.0.1:{self.port}"

    def join(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        for _ in self._targets:
            with contextlib.suppress(OSError):
                return client, socket.create_connection(next(self._turns))
        raise ConnectionRefusedError(self._targets)
