"""The processor's time: what a process was kept waiting for it, which says nothing of the process itself."""

from __future__ import annotations

from pathlib import Path


def waited_s(pid: int) -> float:
    """How long the one of a process's threads that waited longest was ready to run and had no processor, seconds.

    0 where the kernel doesn't say, or the process has gone. From the second figure of `/proc/PID/task/*/schedstat`,
    nanoseconds on a run queue (the kernel's documentation, scheduler/sched-stats).
    """
    longest = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            longest = max(longest, int(task.read_text().split()[1]))
        except (OSError, IndexError, ValueError):
            continue  # a thread that ended meanwhile, or a kernel without these figures
    return longest / 1e9
