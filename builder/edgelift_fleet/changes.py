"""Who waits for a device's next assignment: parked long polls, and the MQTT side.

A waiter asks to be told *before* it looks, so that a change between its look and its wait is not lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Changes:
    """Announcements of new assignments. `announce` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self.closed = False

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Have `listener(device)` called at every change, from the thread that announces; it must not block."""
        self._listeners.append(listener)

    def announce(self, device: str) -> None:
        """Tell that the device's assignment changed; to be called once the change is committed."""
        with self._lock:
            waiting = list(self._waiting.get(device, ()))
        for loop, wake in waiting:
            _wake(loop, wake)
        for listener in self._listeners:
            listener(device)

    @contextmanager
    def listening(self, device: str) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set at every change of the device's assignment."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.setdefault(device, set()).add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                left = self._waiting[device]
                left.discard(entry)
                if not left:
                    del self._waiting[device]

    def close(self) -> None:
        """Let everyone who waits go: the server stops."""
        self.closed = True
        with self._lock:
            waiting = [entry for entries in self._waiting.values() for entry in entries]
        for loop, wake in waiting:
            _wake(loop, wake)


def _wake(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(wake.set)
    except RuntimeError:
        pass  # that loop has ended, and its waiters with it
