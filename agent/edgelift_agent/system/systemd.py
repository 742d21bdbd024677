"""systemd's notification protocol, by the standard library: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state`, as `READY=1`; does nothing where systemd doesn't listen."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            # A leading @ stands for the abstract namespace.
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError:
            pass  # systemd went away: nobody to tell


def watchdog_interval_s() -> float | None:
    """How often to say WATCHDOG=1, seconds: half of what systemd allows; None without a watchdog."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or pid != str(os.getpid()):
        return None
    return int(microseconds) / 2e6
