"""Long polls that wait in an event loop: a future and a timer each, and nothing else that costs memory.

A poll listens *before* it looks, so that a change between its look and its wait is not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Ear:
    """What one poll hears.

    Attributes:
        let_go: it is to wait no longer, whether or not there is something new.
    """

    __slots__ = ("_heard", "_waiting", "let_go")

    def __init__(self) -> None:
        self.let_go = False
        self._heard, self._waiting = False, None  # type: bool, asyncio.Future[None] | None

    def hear(self) -> None:
        """There is something new, or the wait is over."""
        self._heard = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def release(self) -> None:
        """The client is gone, or its place is needed."""
        self.let_go = True
        self.hear()

    async def wait(self, timeout_s: float) -> None:
        """Return at the next thing heard since the last wait, or after so many seconds."""
        if not self._heard:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(timeout_s, self.hear)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        self._heard = False


class Parked:
    """Who waits for which device's next assignment; all in one loop. `wake` and `close` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ears: dict[str, list[Ear]] = {}
        self.closed = False

    def __len__(self) -> int:
        return sum(map(len, list(self._ears.values())))

    @contextmanager
    def listening(self, device: str) -> Iterator[Ear]:
        """Be told of every change of the device's assignment inside the block."""
        self._loop = asyncio.get_running_loop()
        ear = Ear()
        self._ears.setdefault(device, []).append(ear)
        try:
            yield ear
        finally:
            left = self._ears[device]
            left.remove(ear)
            if not left:
                del self._ears[device]

    def wake(self, devices: Iterable[str]) -> None:
        """These devices have something new."""
        self._call(list(devices))

    def close(self) -> None:
        """Let everyone who waits go, now and later: the server stops."""
        self.closed = True
        self._call(None)

    def _call(self, devices: list[str] | None) -> None:
        if self._loop is None:
            return  # nobody ever waited
        try:
            self._loop.call_soon_threadsafe(self._tell, devices)
        except RuntimeError:
            pass  # that loop has ended, and its waiters with it

    def _tell(self, devices: list[str] | None) -> None:
        for device in list(self._ears) if devices is None else devices:
            for ear in self._ears.get(device, ()):
                ear.hear()
