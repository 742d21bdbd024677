"""A port for a server that must be told one before it starts."""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import random
import socket

#: Below every system's range for outgoing connections (Linux: 32768 up, `ip_local_port_range`), so that between the
#: look and the server's own `bind` no client's connection takes it, as happens to a port that `bind(0)` gave.
_PORTS = range(10_000, 20_000)
_chance = random.SystemRandom()
#: The ports last given are kept for whoever asked, by names without files that all processes see and that go with this
#: one: else two processes could be given one port before either's server has bound it, or while it starts anew.
_KEPT = 32
_kept: collections.deque[int] = collections.deque()


def free_port() -> int:
    """A loopback TCP port that nobody listens on now, and that no other caller of this is given soon.

    Raises:
        OSError: `EADDRINUSE`, none was found.
    """
    for _ in range(200):
        port = _chance.choice(_PORTS)
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0edgelift-test-port-{port}")
            with contextlib.closing(socket.socket()) as sock:
                sock.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        _kept.append(name.detach())
        if len(_kept) > _KEPT:
            os.close(_kept.popleft())
        return port
    raise OSError(errno.EADDRINUSE, "no free port was found")
