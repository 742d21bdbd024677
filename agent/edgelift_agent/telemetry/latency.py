"""Latency of every request, in constant memory: per generation, per phase, apart for a throttled processor.

Two views of the same requests: *windows*, closed once a minute and sent to the host; and what each living
generation *served*, which probation judges. One lock, held for a few microseconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgelift_contract.histogram import Histogram
from edgelift_contract.probation import Served
from edgelift_contract.telemetry import LatencyPhase, Window

PHASES: tuple[LatencyPhase, ...] = ("queue", "decode", "infer", "encode", "total")

#: How many requests are counted into the histograms at once: the code for it is then in the processor's caches, which
#: a model's run empties each time. Between two requests that makes it several times dearer.
TOGETHER = 64

#: How many closed windows of a generation count as "before" a swap: an hour of them.
REMEMBERED_WINDOWS = 60


class Sample(NamedTuple):
    """One request's phases, microseconds."""

    queue: float
    decode: float
    infer: float
    encode: float
    total: float


class GenerationKey(NamedTuple):
    """Whose request it was."""

    slot: str
    generation: int
    artifact: str
    model: str
    version: str


class Totals:
    """All requests of one generation since it began to serve: never reset while it lives.

    Attributes:
        ok, errors: requests answered and failed.
        sums_us: per phase, in the order of `PHASES`.
        failed_us: time spent on failed requests, unknown and therefore 0.
        last: wall clock of the last request, seconds.
        total_us: histogram of total latency.
    """

    __slots__ = ("errors", "failed_us", "last", "ok", "sums_us", "total_us")

    def __init__(self) -> None:
        self.ok = self.errors = 0
        self.sums_us = [0.0] * len(PHASES)
        self.failed_us = self.last = 0.0
        self.total_us = Histogram()


class _Open:
    """The window being filled for one generation and throttle state."""

    __slots__ = ("_counted", "_histograms", "_samples", "errors", "probation")

    def __init__(self) -> None:
        self._counted = self.errors = 0
        self.probation = False
        self._histograms = [Histogram() for _ in PHASES]
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Take a request; into the histograms it goes with others."""
        self._samples.append(sample)
        if len(self._samples) >= TOGETHER:
            self._count()

    @property
    def ok(self) -> int:
        """Requests answered."""
        return self._counted + len(self._samples)

    @property
    def histograms(self) -> list[Histogram]:
        """One per phase, every request in it."""
        if self._samples:
            self._count()
        return self._histograms

    def _count(self) -> None:
        for histogram, values in zip(self._histograms, zip(*self._samples, strict=True), strict=True):
            histogram.record_all(values)
        self._counted += len(self._samples)
        self._samples.clear()


class LatencyRecorder:
    """Counts requests; safe to call from any thread."""

    def __init__(self, now: float, wall_clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._now = wall_clock
        self._closed: dict[GenerationKey, Totals] = {}
        self._open: dict[tuple[GenerationKey, bool], _Open] = {}
        self._recent: dict[GenerationKey, deque[tuple[bool, Window]]] = {}
        self._window_start = now
        self.throttled = False
        self.in_probation: set[GenerationKey] = set()

    def record(self, key: GenerationKey, sample: Sample) -> None:
        """Count an answered request."""
        with self._lock:
            self._window(key).add(sample)

    def record_error(self, key: GenerationKey) -> None:
        """Count a request that the model failed on."""
        with self._lock:
            self._window(key).errors += 1

    def totals(self, key: GenerationKey) -> Totals:
        """All requests of a generation that still serves or stands by; for metrics and statistics."""
        with self._lock:
            totals = Totals()
            closed = self._closed.get(key)
            if closed is not None:
                _add(totals, closed.ok, closed.errors, closed.sums_us, closed.total_us)
                totals.last = closed.last
            for throttled in (False, True):
                window = self._open.get((key, throttled))
                if window is not None:
                    sums = [histogram.total for histogram in window.histograms]
                    _add(totals, window.ok, window.errors, sums, window.histograms[-1])
                    totals.last = self._now()
            return totals

    def _window(self, key: GenerationKey) -> _Open:
        slot = (key, self.throttled)
        window = self._open.get(slot)
        if window is None:
            window = self._open[slot] = _Open()
            window.probation = key in self.in_probation
        return window

    def close_windows(self, now: float) -> list[Window]:
        """End the windows that are open and begin new ones; returns those that hold any request."""
        with self._lock:
            closing, self._open = self._open, {}
            start, self._window_start = self._window_start, now
            for (key, _), filled in closing.items():
                totals = self._closed.setdefault(key, Totals())
                sums = [histogram.total for histogram in filled.histograms]
                _add(totals, filled.ok, filled.errors, sums, filled.histograms[-1])
                totals.last = now
        windows = []
        for (key, throttled), filled in closing.items():
            window = _to_window(key, throttled, filled, start, now)
            windows.append(window)
            with self._lock:
                self._recent.setdefault(key, deque(maxlen=REMEMBERED_WINDOWS)).append((throttled, window))
        return windows

    def served(self, key: GenerationKey) -> Served:
        """What a generation served within the remembered windows and the open one."""
        served = Served()
        with self._lock:
            recent = list(self._recent.get(key, ()))
            for throttled in (False, True):
                filled = self._open.get((key, throttled))
                if filled is not None:
                    recent.append((throttled, _to_window(key, throttled, filled, 0.0, 0.0)))
        for throttled, window in recent:
            served.ok += window.ok
            served.errors += window.errors
            if "total" in window.latency_us:
                part = Histogram.from_data(window.latency_us["total"])
                served.total_us.setdefault(throttled, Histogram()).merge(part)
        return served

    def forget(self, key: GenerationKey) -> None:
        """Drop what is remembered of a generation that is gone; its open window is still sent."""
        with self._lock:
            self._recent.pop(key, None)
            self._closed.pop(key, None)
            self.in_probation.discard(key)


def _add(totals: Totals, ok: int, errors: int, sums_us: Sequence[float], total_us: Histogram) -> None:
    totals.ok += ok
    totals.errors += errors
    totals.sums_us = [a + b for a, b in zip(totals.sums_us, sums_us, strict=True)]
    totals.total_us.merge(total_us)


def _to_window(key: GenerationKey, throttled: bool, filled: _Open, start: float, end: float) -> Window:
    latency = {phase: h.to_data() for phase, h in zip(PHASES, filled.histograms, strict=True) if h.count}
    return Window(
        start=start,
        end=end,
        slot=key.slot,
        generation=key.generation,
        artifact=key.artifact,
        model=key.model,
        version=key.version,
        throttled=throttled,
        probation=filled.probation,
        ok=filled.ok,
        errors=filled.errors,
        latency_us=latency,
    )
