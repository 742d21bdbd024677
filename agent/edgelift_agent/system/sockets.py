"""Sockets to listen on, and names for UNIX sockets however deep they lie."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelift_agent.system.disk import Disk
from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

#: ip(7); Python has no name for it.
_IP_FREEBIND = 15


def bind_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; on an address that the machine has not yet, it listens from when it has.

    Raises:
        DeviceError: `port-in-use` or `bad-config`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off on what it accepts; without, every second
    # answer would wait 40 ms for the client's delayed acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if not is_here(host, family):
            sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
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


def is_here(host: str, family: int = 0) -> bool:
    """Has this machine the address now? One that can't be judged counts as there."""
    with socket.socket(family or (socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def bind_unix(path: Path, backlog: int, disk: Disk) -> socket.socket:
    """A listening UNIX socket; one left by an earlier process is replaced, anything else is left alone.

    Raises:
        DeviceError: the disk's, or `bad-config`.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        disk.make_folder(path.parent)
        if _is_other_file(path):
            raise DeviceError("bad-config", f"{path} is no socket, so it is left alone.", hint="Name another.")
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


def _is_other_file(path: Path) -> bool:
    try:
        return not stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def bind_admin(path: Path, backlog: int, disk: Disk) -> list[socket.socket]:
    """The administrator's listening sockets: at `path`, and without a file, for when the disk can't hold that name or
    somebody removes it.

    A name without a file stands in no folder that could keep strangers out: whoever accepts must ask `is_trusted`.

    Raises:
        DeviceError: `already-running`, or `bad-config` when it can't listen at all.
    """
    made: list[socket.socket] = []
    try:
        made.append(bind_unix(path, backlog, disk))
    except DeviceError as error:
        log.warning("no socket at %s code=%s %s", path, error.code, error.message)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(nameless(path))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        if made:
            return made  # another namespace's agent may have the same path, and so this name
        if error.errno == errno.EADDRINUSE:
            raise DeviceError("already-running", f"Another agent listens for {path}.") from error
        raise DeviceError("bad-config", f"Cannot listen for {path}: {error}.") from error
    return [*made, sock]


def nameless(path: Path) -> bytes:
    """The kernel's name, in no file system, that stands in for a socket's path."""
    return b"\0edgelift/" + hashlib.sha256(os.fsencode(path.absolute())).hexdigest().encode()


def is_trusted(connection: socket.socket) -> bool:
    """Is the process at the other end of a UNIX socket root's or our own user's?"""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", peer)
    return user in (0, os.geteuid())


def connect_admin(path: Path, timeout_s: float | None) -> socket.socket:
    """Reach the agent that listens at `path`, or in its stead.

    Raises:
        PermissionError: this user may not.
        OSError: no agent listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        try:
            with short_name(path) as name:
                sock.connect(name)
        except (PermissionError, BlockingIOError, TimeoutError):
            raise  # it is there
        except OSError:
            sock.connect(nameless(path))  # no file, or one that was left behind on a disk that can't be written
    except BaseException:
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
