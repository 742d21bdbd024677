"""Sockets to listen on, and names for UNIX sockets however deep they lie."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelift_agent.system.disk import Disk
from edgelift_contract.errors import DeviceError


def bind_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        DeviceError: `port-in-use` or `bad-config`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off on what it accepts; without, every second
    # answer would wait 40 ms for the client's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise DeviceError(
                "port-in-use",
                f"Port {port} on {host} is in use.",
                hint="Stop the other program or choose another port.",
            ) from error
        raise DeviceError("bad-config", f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return sock


def bind_unix(path: Path, backlog: int, disk: Disk) -> socket.socket:
    """A listening UNIX socket; one left by an earlier process is replaced.

    Raises:
        DeviceError: the disk's, or `bad-config`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        disk.make_folder(path.parent)
        disk.unlink(path)
        with short_name(path) as name, disk.operation("bind", path):
            sock.bind(name)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise DeviceError("bad-config", f"Cannot listen on the socket {path}: {error}.") from error
    except DeviceError:
        sock.close()
        raise
    return sock


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Another name for a socket's path that fits the 107 bytes a UNIX address may have, however deep it lies."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
