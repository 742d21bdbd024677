"""The server's word to systemd, by its notification protocol (sd_notify(3)): started, stopping."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started(status: str) -> Iterator[None]:
    """Tell that the service has started, and at the end of the block that it stops; nothing where systemd doesn't listen.

    Args:
        status: a line for `systemctl status`.
    """
    _notify(f"READY=1\nSTATUS={status}")
    try:
        yield
    finally:
        _notify("STOPPING=1")


def _notify(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # A leading @ stands for the abstract namespace.
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
    except OSError:
        pass  # systemd went away: nobody to tell
