"""How many files and sockets this process may have open: raised as far as the system allows, and told."""

from __future__ import annotations

import os
import resource
from pathlib import Path

#: What one process can use; where the system sets no bound at all there is no point in more.
_ENOUGH = 1 << 20
#: Kept from connections: the database's, the broker's, blobs that are being read, connections that wait for a place.
RESERVE = 320


def raise_descriptors() -> int:
    """Let this process, and those that it starts, have as many open as its hard limit allows; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # a kernel's own bound, below the hard limit
    return wanted


def descriptors_limit() -> int:
    """How many this process, and those that it starts, may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def open_descriptors() -> int:
    """How many this process has open."""
    return len(os.listdir(Path("/proc/self/fd")))  # noqa: PTH208 - counted, not used


def places_for(descriptors: int, wanted: int) -> int:
    """How many connections a server can have open when so many descriptors may be: an eighth at least."""
    return min(wanted, max(descriptors - RESERVE, descriptors // 8))
