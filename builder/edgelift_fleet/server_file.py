"""`run/server.json`: how the command line finds a site's running server."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from edgelift_contract import codec
from edgelift_contract.errors import DeviceError, TransportError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.site import Site

_NAME = "server.json"


class Running(msgspec.Struct, frozen=True):
    """A started server.

    Attributes:
        url: where it answers.
        pid: its process.
        broker: in words: `none`, or host and port.
        database: as people may see it; empty when an older release wrote this.
        tls_url: HTTPS beside plain HTTP, for devices that move over; empty for none.
    """

    url: str
    pid: int
    broker: str
    database: str = ""
    tls_url: str = ""


@contextmanager
def site_lock(site: Site, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the site for this process; the kernel lets go of it however the process ends.

    Args:
        site: that nobody else is to open meanwhile.
        wait_s: how long to wait for a command that holds it; a server that runs is not waited for.

    Raises:
        DeviceError: `already-running`, `read-only`, `disk-error`.
    """
    with disk_errors("the site's run folder"):
        site.run.mkdir(exist_ok=True)
        descriptor = os.open(site.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, site, time.monotonic() + wait_s)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, site: Site, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            by_server = is_running(site)
            if by_server or time.monotonic() >= deadline:
                who = "server runs" if by_server else "command or server works"
                raise DeviceError(
                    "already-running", f"Another {who} on the site {site.folder}.", hint="Stop it first."
                ) from None
        time.sleep(0.1)


def is_running(site: Site) -> bool:
    """Does a server run on the site, and answer?"""
    try:
        read_server_file(site)
    except TransportError:
        return False
    return True


@contextmanager
def server_file(site: Site, running: Running) -> Iterator[None]:
    """The file, there for as long as the block runs.

    Raises:
        DeviceError: `read-only`, `disk-full`, `disk-error`.
    """
    path = site.run / _NAME
    with disk_errors("the site's run folder"):
        write_atomically(path, codec.canonical_json(running) + b"\n", mode=0o600)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_server_file(site: Site) -> Running:
    """The server that runs on the site.

    Raises:
        TransportError: `unreachable` when none does; a file that a killed server left behind is seen through.
    """
    hint = f"Start it: edgelift serve --site {site.folder}"
    try:
        running = msgspec.json.decode((site.run / _NAME).read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except PermissionError:
        return running  # it runs as somebody else
    except (OSError, OverflowError, msgspec.MsgspecError):
        raise TransportError("unreachable", f"No server runs on the site {site.folder}.", hint=hint) from None
    return running
