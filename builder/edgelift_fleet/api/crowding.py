"""What one device may ask of the server at once and in the long run, so that a flood is its own sender's delay.

A device that asks too much is told when to come again (429 with Retry-After): its agent waits so long and loses nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edgelift_contract.errors import TransportError

#: Messages of one device that are under way at once; an agent sends one after the other.
AT_ONCE = 8
#: Bytes of all devices' messages that are under way at once: what bodies may take of the memory.
BYTES_AT_ONCE = 128 << 20
#: What a device may send in the long run, bytes a second; a week of windows is sent within minutes.
BYTES_PER_S = 1 << 20
#: … and at once after a long silence, bytes.
BURST_BYTES = 32 << 20
#: A message costs at least so much, bytes: reading and storing it has a price of its own.
LEAST_BYTES = 2 * 1024


def over_s(owed: float) -> float:
    """How long to wait until a device that owes so many bytes may send again, seconds; 0 when it may. Pure."""
    return max(0.0, (owed - BURST_BYTES) / BYTES_PER_S)


class Crowding:
    """Who sends how much, over one link. For one thread."""

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._bytes_under_way = 0
        self._owed: dict[str, tuple[float, float]] = {}  # bytes, at which time: a bucket that leaks
        self._look_at = 1000

    @contextmanager
    def admit(self, device: str, size_bytes: int) -> Iterator[None]:
        """A message of the device is under way inside the block.

        Raises:
            TransportError: `busy`, with when to come again.
        """
        cost = max(size_bytes, LEAST_BYTES)
        now = time.monotonic()
        owed = self._owed_at(device, now) + cost
        if (wait_s := over_s(owed)) > 0:
            raise later(f"The device {device!r} sends more than it may.", wait_s)
        if self._under_way.get(device, 0) >= AT_ONCE:
            raise later(f"The device {device!r} sends more at once than it may.", 1.0)
        with self.carry(cost):
            self._owed[device] = (owed, now)
            self._under_way[device] = self._under_way.get(device, 0) + 1
            try:
                yield
            finally:
                self._under_way[device] -= 1
                if not self._under_way[device]:
                    del self._under_way[device]

    @contextmanager
    def carry(self, size_bytes: int) -> Iterator[None]:
        """A message of somebody, who isn't known before it is read, is under way inside the block. Raises as `admit`."""
        if self._bytes_under_way + size_bytes > BYTES_AT_ONCE:
            raise later("Too much is being sent at once.", 1.0)
        self._bytes_under_way += size_bytes
        try:
            yield
        finally:
            self._bytes_under_way -= size_bytes

    def _owed_at(self, device: str, now: float) -> float:
        if len(self._owed) > self._look_at:
            self._forget(now)
            self._look_at = max(1000, 2 * len(self._owed))
        owed, at = self._owed.get(device, (0.0, now))
        return max(0.0, owed - (now - at) * BYTES_PER_S)

    def _forget(self, now: float) -> None:
        """Whoever owes nothing any more."""
        self._owed = {
            device: (owed, at) for device, (owed, at) in self._owed.items() if owed > (now - at) * BYTES_PER_S
        }


def later(message: str, wait_s: float) -> TransportError:
    """The error that tells a device to come again in a while."""
    error = TransportError("busy", message, hint=f"Ask again in {math.ceil(wait_s)} s.")
    error.retry_after_s = wait_s
    return error
