"""The process's memory: kept small, given back after a model has gone, and not walked by the collector in vain."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from pathlib import Path

#: How much sooner than others a process is ended when memory runs out that is only being tried (proc(5), oom_score_adj).
FIRST_TO_GO = 500


def resident_bytes() -> int:
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_resident_bytes() -> int:
    """The most resident memory of this program so far, bytes.

    Not `ru_maxrss` (getrusage(2)): that outlives an exec, and a child would begin with the peak of whoever started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def let_go_first(pid: int) -> None:
    """Have the kernel end this child before what serves, when there is no memory left; where it lets us say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)  # the kernel's, on no disk
        try:
            os.write(descriptor, str(FIRST_TO_GO).encode())
        finally:
            os.close(descriptor)


def limit_arenas() -> None:
    """Have glibc share two heaps among all threads: each of its own would keep a few megabytes (mallopt(3))."""
    try:
        ctypes.CDLL("libc.so.6").mallopt(-8, 2)  # M_ARENA_MAX
    except (OSError, AttributeError):
        pass  # another C library


def settle() -> None:
    """Take what is in memory now, modules above all, out of later collections; for a process that is all ours.

    A full collection walks every object and keeps requests waiting meanwhile: 12 ms with a runtime imported,
    below 1 ms after this.
    """
    gc.collect()
    gc.freeze()


def return_memory() -> None:
    """Collect garbage and give freed pages back to the system, where the C library can (glibc)."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass  # another C library: nothing to trim
