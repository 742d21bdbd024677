"""Announcements that a device's assignment changed: made by whoever committed the change, heard by whoever must know."""

from __future__ import annotations

from collections.abc import Callable


class Changes:
    """Announcements of new assignments. `announce` may be called from any thread."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Have `listener(device)` called at every change, from the thread that announces; it must not block."""
        self._listeners.append(listener)

    def announce(self, device: str) -> None:
        """Tell that the device's assignment changed; to be called once the change is committed."""
        for listener in self._listeners:
            listener(device)
