"""Slots, generations and leases: how a model is exchanged without dropping a request.

A slot points at one generation. A request takes a *lease*: under the slot's lock it reads the pointer and
counts itself in; it runs outside the lock; on leaving it counts itself out. A swap replaces the pointer under
the same lock, so every request runs wholly on one generation and none finds the slot empty. What the slot
pointed at before stays loaded while probation may want it back (`standby`), then retires: it is destroyed on
the reaper's thread once its last lease has ended, never on a request's.

In `park` mode, for devices that can't hold two models, requests wait at the slot, bounded and with a
deadline, while the old one goes and the new one comes.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgelift_agent.ports import LoadedModel
from edgelift_agent.telemetry.latency import GenerationKey
from edgelift_contract.errors import DeviceError
from edgelift_contract.manifest import Manifest

if TYPE_CHECKING:
    from edgelift_agent.serving.protocol import Codec

#: How long a request may wait at a parked slot, and how many may, unless the configuration says otherwise.
PARK_TIMEOUT_S, PARK_LIMIT = 30.0, 1024


class Generation:
    """A model live in a slot.

    Immutable but for the count of its leases, which the slot's lock guards, and what serving it found out: how long
    a run takes, and the words of its requests.
    """

    __slots__ = ("codec", "key", "leases", "manifest", "model", "number", "run_us", "since")

    def __init__(self, key: GenerationKey, manifest: Manifest, model: LoadedModel, since: float) -> None:
        self.key, self.manifest, self.model, self.since = key, manifest, model, since
        self.number = key.generation
        self.leases = 0
        self.run_us = 0.0  # moving average of a run; 0 until the first request
        self.codec: Codec | None = None  # until the first request over HTTP


class Lease:
    """The right to run on one generation; a context manager that gives the generation."""

    __slots__ = ("_slot", "_timeout_s", "generation")

    def __init__(self, slot: Slot, timeout_s: float | None) -> None:
        self._slot, self._timeout_s = slot, timeout_s
        self.generation: Generation | None = None

    def __enter__(self) -> Generation:
        generation = self._slot.enter(self._timeout_s)
        self.generation = generation
        return generation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        generation, self.generation = self.generation, None
        if generation is not None:
            self._slot.leave(generation)


class Slot:
    """A named place for a model."""

    def __init__(self, name: str, *, park_timeout_s: float = PARK_TIMEOUT_S, park_limit: int = PARK_LIMIT) -> None:
        self.name = name
        self._park_timeout_s, self._park_limit = park_timeout_s, park_limit
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._current: Generation | None = None
        self._standby: Generation | None = None
        self._parked = False
        self._waiting = 0
        #: Of the exchange under way or the last one: requests that waited, that gave up, and the longest wait.
        self.parked_requests = self.turned_away = 0
        self.park_max_s = 0.0

    @property
    def current(self) -> Generation | None:
        """What serves now; None for nothing."""
        return self._current

    @property
    def parked(self) -> bool:
        """Do requests wait for an exchange now?"""
        return self._parked

    def lease(self, timeout_s: float | None = None) -> Lease:
        """Take part in the current generation: `with slot.lease() as generation: generation.model.run(x)`.

        Args:
            timeout_s: how long to wait if the slot is parked.

        Raises:
            DeviceError: on entering: `not-serving` when nothing is loaded, `busy` when the wait is over or
                too many wait already.
        """
        return Lease(self, timeout_s)

    def enter(self, timeout_s: float | None = None) -> Generation:
        """Begin a lease: what `lease()` does on entering. Every `enter` needs its `leave`."""
        with self._lock:
            if self._parked:
                self._wait(self._park_timeout_s if timeout_s is None else timeout_s)
            generation = self._current
            if generation is None:
                raise DeviceError("not-serving", f"No model is loaded in the slot {self.name!r}.")
            generation.leases += 1
            return generation

    def _wait(self, timeout_s: float) -> None:
        if self._waiting >= self._park_limit:
            self.turned_away += 1
            raise DeviceError(
                "busy", f"{self._waiting} requests wait already while {self.name!r} changes its model."
            )
        self._waiting += 1
        self.parked_requests += timeout_s > 0
        started = time.monotonic()
        try:
            if not self._changed.wait_for(lambda: not self._parked, timeout_s):
                # A zero wait is a look, not a request: who looks goes on to wait elsewhere.
                self.turned_away += timeout_s > 0
                raise DeviceError("busy", f"{self.name!r} did not change its model within {timeout_s:g} s.")
        finally:
            self._waiting -= 1
            self.park_max_s = max(self.park_max_s, time.monotonic() - started)

    def leave(self, generation: Generation) -> None:
        """End a lease."""
        with self._lock:
            generation.leases -= 1
            if not generation.leases and generation is not self._current:
                self._changed.notify_all()

    def enter_standby(self) -> Generation | None:
        """Begin a lease on the generation that served before and is kept for a return; None where there is none."""
        with self._lock:
            if self._standby is not None:
                self._standby.leases += 1
            return self._standby

    def forget_standby(self) -> None:
        """The generation that served before may go: nothing begins a lease on it from here on."""
        with self._lock:
            self._standby = None

    def swap(
        self, new: Generation | None, *, standby: Generation | None = None
    ) -> tuple[Generation | None, float]:
        """Put `new` in the current one's place and let parked requests go on.

        Args:
            new: what serves from now on; None for nothing.
            standby: what stays loaded beside it, until the next swap or `forget_standby`.

        Returns:
            What was there before, and how long the lock was held, microseconds.
        """
        with self._lock:
            started = time.perf_counter()
            old, self._current = self._current, new
            self._standby = standby
            self._parked = False
            if self._waiting:
                self._changed.notify_all()
            return old, (time.perf_counter() - started) * 1e6

    def park(self) -> Generation | None:
        """Make new requests wait, and take the current generation out; `swap` ends it."""
        with self._lock:
            self._parked = True
            self.parked_requests, self.turned_away, self.park_max_s = 0, 0, 0.0
            old, self._current = self._current, None
            return old

    def drain(self, generation: Generation, timeout_s: float) -> bool:
        """Wait until no request runs on a generation that is no longer current; False when time ran out."""
        with self._lock:
            return self._changed.wait_for(lambda: generation.leases == 0, timeout_s)


class Slots:
    """All slots of the device, by name; made as they are needed."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._slots: dict[str, Slot] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Slot | None:
        """The slot, if it was ever used."""
        return self._slots.get(name)

    def make(self, name: str) -> Slot:
        """The slot, made if need be."""
        with self._lock:
            return self._slots.setdefault(name, Slot(name, **self._options))

    def names(self) -> list[str]:
        """Names of all slots, in order."""
        return sorted(self._slots)

    def remove(self, name: str) -> None:
        """Forget an emptied slot."""
        with self._lock:
            self._slots.pop(name, None)


def make_generation(
    slot: str, number: int, artifact: str, manifest: Manifest, model: LoadedModel, since: float
) -> Generation:
    """A loaded model as a slot's generation; the one place that makes them.

    Args:
        slot: where it will serve.
        number: never used before in this slot.
        artifact: the artifact's id.
        manifest: the artifact's.
        model: loaded and warm.
        since: wall clock, seconds since 1970.
    """
    key = GenerationKey(slot, number, artifact, manifest.model, manifest.version)
    return Generation(key, manifest, model, since)
