"""A disk that breaks at one chosen operation: the process is killed after it, or the operation fails.

A point says where: `preflight/commit state.db/2` is the second commit of the journal while the update stands in
PREFLIGHT; a bare number is the n-th operation of the process. Counting within a state and by name makes a point
independent of what other threads do in between. What the host's answers time (confirmed telemetry) is counted
over the whole life of the process, in the phase `any`.

A fault strikes once, or lasts: until a file that marks it is gone, over restarts, from the very first operation
of a process that starts in its midst.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edgelift_agent.system.clock import SystemClock
from edgelift_agent.system.disk import Disk

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
#: Faults that `FaultyDisk` knows; `kill` ends the process right after the operation.
FAULTS = ("kill", *ERRORS)
#: A full disk still lets go of what is on it, and of what needs no room.
FREE_OF_COST = frozenset({"unlink", "lock"})


class FaultyDisk(Disk):
    """A real disk with one fault."""

    def __init__(
        self,
        fault: str = "",
        at: int | str = 0,
        *,
        root: Path = Path("/"),
        mark: Path | None = None,
        lasting: bool = False,
        record: Path | None = None,
    ) -> None:
        """Choose the fault.

        Args:
            fault: one of `FAULTS`; empty for none.
            at: the point: `phase/operation and place/number`, or the number of an operation from the process's start.
            root: the agent's state folder, below which places are named.
            mark: a file that is made when the fault strikes. One that is there already means that it has struck:
                a lasting fault then begins with the first operation, a single one is over.
            lasting: go on failing until `mark` is gone.
            record: a file to which every operation's point is appended as it happens.
        """
        self.count = 0
        #: The phase of now, as `preflight`; whoever runs the agent says how to know it.
        self.phase: Callable[[], str] = lambda: "any"
        self._fault, self._at, self._root = fault, at, root
        self._mark, self._lasting, self._record = mark, lasting, record
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._armed = bool(fault) and not (mark is not None and mark.exists())
        self._broken = bool(fault) and lasting and not self._armed
        self._doomed = False

    def _act(self, operation: str, path: Path) -> None:
        with self._lock:
            struck = self._strikes(operation, path)
            if struck:
                self._armed, self._broken = False, self._lasting
                self._doomed = self._fault == "kill"
        if self._fault == "kill":
            return
        if struck or (self._still_broken() and not self._spared(operation)):
            number = ERRORS[self._fault]
            raise OSError(number, os.strerror(number), str(path))

    def _strikes(self, operation: str, path: Path) -> bool:
        """Count the operation; is it the chosen one?"""
        self.count += 1
        name = f"{operation} {self._place(path)}"
        key = f"{'any' if 'confirm' in operation else self.phase()}/{name}"
        self._seen[key] += 1
        point = f"{key}/{self._seen[key]}"
        self._note(self._record, point)
        struck = self._armed and self._at in (self.count, point)
        if struck:
            self._note(self._mark, point)
        return struck

    def _acted(self, operation: str, path: Path) -> None:  # noqa: ARG002 - the base class passes them
        if self._doomed:
            os.kill(os.getpid(), signal.SIGKILL)

    def _still_broken(self) -> bool:
        if self._broken and self._mark is not None and not self._mark.exists():
            self._broken = False
        return self._broken

    def _spared(self, operation: str) -> bool:
        return self._fault == "ENOSPC" and operation in FREE_OF_COST

    def _place(self, path: Path) -> str:
        try:
            parts = path.relative_to(self._root).parts
        except ValueError:
            return path.name
        return parts[0] if parts else "."

    @staticmethod
    def _note(path: Path | None, point: str) -> None:
        if path is not None:
            with path.open("a") as handle:
                handle.write(point + "\n")


class ShiftedClock(SystemClock):
    """A wall clock that is wrong, as a board's is that has no battery; the monotonic clock is right."""

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s

    def now(self) -> float:
        """See `Clock`."""
        return super().now() + self._offset_s
