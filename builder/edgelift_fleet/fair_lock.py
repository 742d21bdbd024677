"""One at a time, in the order in which they came.

A plain lock is had by whoever asks first after it was let go, and that is most often the thread that has just let it go:
a thread that writes group after group keeps every other one out for as long as it has something to write.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FairLock:
    """A lock that its threads get in the order of their asking."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        #: One for each thread that waits, opened when it is that thread's turn.
        self._gates: deque[threading.Lock] = deque()

    @contextmanager
    def held(self, patience_s: float) -> Iterator[bool]:
        """Hold it inside the block; gives False, and nothing is held, when it was not to be had for so long."""
        has = self._take(patience_s)
        try:
            yield has
        finally:
            if has:
                self._leave()

    @property
    def waiting(self) -> int:
        """Threads that wait for their turn."""
        return len(self._gates)

    def _take(self, patience_s: float) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            gate = threading.Lock()
            gate.acquire()
            self._gates.append(gate)
        if gate.acquire(timeout=patience_s):
            return True
        with self._guard:
            if gate not in self._gates:
                return True  # its turn came at that very moment
            self._gates.remove(gate)
            return False

    def _leave(self) -> None:
        with self._guard:
            if self._gates:
                self._gates.popleft().release()  # it is never free in between, so nobody comes first
            else:
                self._taken = False
