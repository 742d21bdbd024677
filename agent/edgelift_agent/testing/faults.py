"""A disk that breaks at one chosen operation: the process is killed after it, or the operation fails.

One number says where: the n-th durable operation since the process began, counted from 1. Enumerating n until
nothing breaks any more covers every crash point there is.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.disk import Disk

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}


class FaultyDisk(Disk):
    """A real disk with one fault."""

    def __init__(self, *, kill_after: int = 0, fail_at: int = 0, error: str = "ENOSPC", lasting: int = 1) -> None:
        """Choose the fault.

        Args:
            kill_after: SIGKILL this process right after its n-th operation; 0 for never.
            fail_at: let the n-th operation fail; 0 for never.
            error: with which error: a key of `ERRORS`.
            lasting: how many operations in a row fail from there on.
        """
        self.count = 0
        self._kill_after, self._fail_at, self._errno, self._lasting = kill_after, fail_at, ERRORS[error], lasting

    def _act(self, operation: str, path: Path) -> None:  # noqa: ARG002 - the base class passes it
        self.count += 1
        if self._fail_at and self._fail_at <= self.count < self._fail_at + self._lasting:
            raise OSError(self._errno, os.strerror(self._errno), str(path))

    def _acted(self, operation: str, path: Path) -> None:  # noqa: ARG002 - the base class passes them
        if self._kill_after and self.count >= self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)


class ShiftedClock(SystemClock):
    """A wall clock that is wrong, as a board's is that has no battery; the monotonic clock is right."""

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s

    def now(self) -> float:
        """See `Clock`."""
        return super().now() + self._offset_s
