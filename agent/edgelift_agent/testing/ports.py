"""A port for a server that must be told one before it starts."""

from __future__ import annotations

import contextlib
import errno
import random
import socket

#: Below every system's range for outgoing connections (Linux: 32768 up, `ip_local_port_range`), so that between the
#: look and the server's own `bind` no client's connection takes it, as happens to a port that `bind(0)` gave.
_PORTS = range(10_000, 20_000)
_chance = random.SystemRandom()


def free_port() -> int:
    """A loopback TCP port that nobody listens on now.

    Raises:
        OSError: `EADDRINUSE`, none was found.
    """
    for _ in range(200):
        port = _chance.choice(_PORTS)
        with contextlib.closing(socket.socket()) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, "no free port was found")
