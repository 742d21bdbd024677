"""The way from the links to the database: a queue for each device, emptied in turns, many messages in one transaction.

One thread writes. It goes round the devices that have something waiting until a group is large enough; so a board that
floods waits for itself, and another's report comes with the next group. Whoever sent a message
is told only once its group is committed: what isn't stored is never acknowledged. Bounds of what a device may have
waiting are the links' business: each has its own way of saying "not now".
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from edgelift_contract.errors import TransportError

log = logging.getLogger(__name__)

#: A group is written when it has so many messages …
GROUP = 256
#: … or so many bytes: a large batch takes as long to read as a hundred reports, and others wait for it. Large groups
#: are cheap (what a transaction costs, its messages share), and one of 256 small ones is written in some 50 ms.
GROUP_BYTES = 256 * 1024
#: What a device may send more in each round, bytes.
QUANTUM = 4 * 1024

M = TypeVar("M")
#: What became of a message: its reply, or why there is none.
Outcome = object
Done = Callable[[Outcome], None]


class Turns(Generic[M]):
    """Messages in the order in which they are to be taken. Not thread-safe.

    Round after round each device that has something may send `QUANTUM` bytes more, and sends its next message once it
    may send so much: deficit round robin (Shreedhar and Varghese, 1995). A message counts as a quantum at least.
    """

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[M, int]]] = {}
        self._credit: dict[str, int] = {}
        self._order: deque[str] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, device: str, message: M, size_bytes: int) -> None:
        """One more message of a device, after those that it has waiting."""
        queue = self._queues.get(device)
        if queue is None:
            queue = self._queues[device] = deque()
            self._credit[device] = 0
            self._order.append(device)
        queue.append((message, size_bytes))

    def take(self, at_most: int = GROUP, bytes_at_most: int = GROUP_BYTES) -> list[M]:
        """The next group: at least one message if there is any, of as many devices as possible."""
        taken: list[M] = []
        size = 0
        while self._order and len(taken) < at_most and size < bytes_at_most:
            device = self._order.popleft()
            queue = self._queues[device]
            self._credit[device] += QUANTUM
            message, size_bytes = queue[0]
            cost = max(size_bytes, QUANTUM)
            if cost <= self._credit[device]:
                queue.popleft()
                self._credit[device] -= cost
                taken.append(message)
                size += size_bytes
            if queue:
                self._order.append(device)
            else:
                del self._queues[device], self._credit[device]
        return taken


class Inbox(Generic[M]):
    """Takes messages from any thread. A context: a thread writes them inside the block, and at its end what still waits."""

    def __init__(self, write: Callable[[Sequence[M]], Sequence[Outcome]]) -> None:
        """`write` stores a group in one transaction; returns what became of each, in order, or raises for all of them."""
        self._write = write
        self._turns: Turns[tuple[M, Done]] = Turns()
        self._some, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._turns)

    def __enter__(self) -> Inbox[M]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._some:
            self._closed = True
            self._some.notify()
        self._thread.join(5)

    def put(self, device: str, message: M, size_bytes: int, done: Done) -> None:
        """Have a message stored.

        Args:
            device: whose.
            message: for `write`.
            size_bytes: its length.
            done: called with what became of it, from the inbox's thread; must not block.

        Raises:
            TransportError: `busy` when the server stops.
        """
        with self._some:
            if self._closed:
                raise TransportError("busy", "The server stops; ask again soon.")
            self._turns.add(device, (message, done), size_bytes)
            self._some.notify()

    def _run(self) -> None:
        while True:
            with self._some:
                while not (group := self._turns.take()):
                    if self._closed:
                        return
                    self._some.wait()
            messages = [message for message, _ in group]
            try:
                outcomes = self._write(messages)
            except Exception as error:  # noqa: BLE001 - told to whoever waits; the next group is written all the same
                outcomes = [error] * len(group)
            for (_, done), outcome in zip(group, outcomes, strict=True):
                try:
                    done(outcome)
                except Exception:
                    log.exception("a fault while a sender was told what became of its message")
