"""The worker: one thread with a queue that owns the journal and drives everything that changes the device.

Other threads only post callables. It sleeps until something is posted or due; idle, that is the watchdog's
beat and the closing of windows.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgelift_agent.system.clock import Clock
from edgelift_agent.update.machine import State
from edgelift_agent.update.updates import Updates
from edgelift_contract.errors import ContractError

log = logging.getLogger(__name__)


@dataclass
class Timer:
    """Something to do every so often.

    Attributes:
        every_s: gives the interval anew after each run, seconds.
        action: what to do, on the worker's thread.
        due: monotonic time of the next run.
    """

    every_s: Callable[[], float]
    action: Callable[[], None]
    due: float = 0.0


@dataclass(frozen=True)
class Watch:
    """Something to do when it says so itself.

    Attributes:
        due_in_s: seconds until then, asked before every sleep; None for not now.
        action: what to do, on the worker's thread.
    """

    due_in_s: Callable[[], float | None]
    action: Callable[[], None]


class Worker:
    """Runs posted callables, timers and due steps, in one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[Timer] = []
        self._watches: list[Watch] = []
        self._stopping = False
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="step")
        self.on_change: Callable[[], None] = lambda: None

    def post(self, action: Callable[[], None]) -> None:
        """Have `action` run on the worker's thread; from any thread."""
        self._inbox.put(action)

    def every(self, every_s: Callable[[], float], action: Callable[[], None]) -> Timer:
        """Add a timer; its first run is one interval from now."""
        timer = Timer(every_s, action, self._clock.monotonic() + every_s())
        self._timers.append(timer)
        return timer

    def when(self, due_in_s: Callable[[], float | None], action: Callable[[], None]) -> None:
        """Do `action` whenever `due_in_s` has come down to nothing."""
        self._watches.append(Watch(due_in_s, action))

    def stop(self) -> None:
        """End `run` soon; from any thread or a signal handler."""
        self._inbox.put(self._stop)

    def _stop(self) -> None:
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Was `stop` called, and did the worker come to it?"""
        return self._stopping

    def run(self, updates: Updates, *, until: Callable[[], bool] = lambda: False) -> None:
        """Work until `stop` is called or `until` says so."""
        while not self._stopping and not until():
            next_step_s = updates.tick()
            self._tell_changes(updates)
            waits = [timer.due - self._clock.monotonic() for timer in self._timers]
            dues = [next_step_s, *(watch.due_in_s() for watch in self._watches)]
            waits += [due for due in dues if due is not None]
            self._take(max(0.0, min(waits)) if waits else None)
            self._run_timers()

    def _tell_changes(self, updates: Updates) -> None:
        if updates.progress.changed:
            updates.progress.changed = False
            self.on_change()

    def _take(self, timeout_s: float | None) -> None:
        try:
            action = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return
        while True:
            action()
            try:
                action = self._inbox.get_nowait()
            except queue.Empty:
                return

    def _run_timers(self) -> None:
        now = self._clock.monotonic()
        for timer in self._timers:
            if timer.due <= now:
                timer.due = now + timer.every_s()
                timer.action()
        for watch in self._watches:
            due = watch.due_in_s()
            if due is not None and due <= 0:
                watch.action()

    def close(self) -> None:
        """End the pool after the steps that are under way."""
        self.pool.shutdown(wait=True, cancel_futures=True)


def take_assignment(updates: Updates, data: bytes) -> None:
    """Accept an assignment's bytes, or say why not."""
    try:
        updates.assigned.accept(data)
    except ContractError as error:
        log.error("assignment refused code=%s %s", error.code, error)


def settled(updates: Updates) -> bool:
    """Is no update under way?"""
    return all(update.state == State.IDLE for update in updates.rows())
