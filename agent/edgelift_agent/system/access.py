"""What this process may do on this machine: its user, its groups, and the devices that it can open."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

#: Devices that tell of throttling or run models, as patterns below the root: a Pi's firmware interface, GPUs.
DEVICES = ("dev/vcio", "dev/vchiq", "dev/dri/*", "dev/nvidia*", "dev/nvhost-gpu", "dev/nvhost-ctrl*", "dev/nvmap")


def user_name() -> str:
    """Of this process's user; its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def group_names() -> list[str]:
    """Of this process's groups, in order; numbers for those without a name."""
    return sorted({_group_name(number) for number in {os.getegid(), *os.getgroups()}})


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def refused_devices(root: Path = Path("/")) -> dict[str, str]:
    """Devices of `DEVICES` that are there and can't be opened, each with the system's reason.

    They are opened and closed: file permissions alone don't tell what a unit's device list keeps out.
    """
    refused = {}
    for path in sorted(found for pattern in DEVICES for found in root.glob(pattern)):
        if path.is_dir():
            continue
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        except PermissionError as error:
            refused[str(path)] = error.strerror or "permission denied"
        except OSError:
            continue  # busy, or nothing behind it: not a matter of what we may do
    return refused
