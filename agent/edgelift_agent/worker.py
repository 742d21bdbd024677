"""The worker: one thread with a queue that owns the journal and drives everything that changes the device.

Other threads only post callables. It sleeps until something is posted or due; idle, that is the watchdog's
beat and the closing of windows. Nothing that an action raises ends it: what it does for one purpose may fail
without taking serving and everything else along.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import TypeVar

from edgelift_agent.system.clock import Clock
from edgelift_agent.system.standby import StandbyThreads
from edgelift_contract.errors import DeviceError, EdgeliftError

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How soon to look again after a look at the updates has failed, seconds.
AFTER_FAULT_S = 2.0


@dataclass
class Timer:
    """Something to do every so often, or once.

    Attributes:
        every_s: gives the interval anew after each run, seconds; None to end after the first.
        action: what to do, on the worker's thread.
        due: monotonic time of the next run.
    """

    every_s: Callable[[], float] | None
    action: Callable[[], None]
    due: float = 0.0


@dataclass
class Watch:
    """Something to do when it says so itself.

    Attributes:
        due_in_s: seconds until then, asked before every sleep; None for not now.
        action: what to do, on the worker's thread.
        not_before: monotonic time until which it is left alone, because it failed.
    """

    due_in_s: Callable[[], float | None]
    action: Callable[[], None]
    not_before: float = 0.0

    def left_s(self, now: float) -> float | None:
        """Seconds until it is to be done; None for not now."""
        due = self.due_in_s()
        return None if due is None else max(due, self.not_before - now)


class Worker:
    """Runs posted callables, timers and due steps, in one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[Timer] = []
        self._watches: list[Watch] = []
        self._stopping = False
        self.pool: Executor = StandbyThreads(2, "step")

    def post(self, action: Callable[[], None]) -> None:
        """Have `action` run on the worker's thread; from any thread."""
        self._inbox.put(action)

    def call(self, action: Callable[[], T], timeout_s: float) -> T:
        """Run `action` on the worker's thread and wait for what it gives; from another thread.

        Raises:
            DeviceError: `busy` when it had not begun or ended in time.
            Exception: what `action` raised.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except Exception as error:  # noqa: BLE001 - raised again on the thread that asked
                future.set_exception(error)

        self.post(run)
        try:
            return future.result(timeout_s)
        except NotInTime:
            if future.done():
                raise  # the action's own
            raise DeviceError("busy", "The agent is busy and did not answer in time.") from None

    def every(self, every_s: Callable[[], float], action: Callable[[], None]) -> Timer:
        """Add a timer; its first run is one interval from now."""
        timer = Timer(every_s, action, self._clock.monotonic() + every_s())
        self._timers.append(timer)
        return timer

    def once(self, after_s: float, action: Callable[[], None]) -> None:
        """Do `action` once, `after_s` seconds from now."""
        self._timers.append(Timer(None, action, self._clock.monotonic() + after_s))

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

    def run(self, tick: Callable[[], float | None], *, until: Callable[[], bool] = lambda: False) -> None:
        """Work until `stop` is called or `until` says so.

        Args:
            tick: does what is due of the updates; gives seconds until the next, None for nothing to do.
            until: end when this is true.
        """
        while not self._stopping and not until():
            dues = [self._tick(tick)]
            now = self._clock.monotonic()
            waits = [timer.due - now for timer in self._timers]
            dues += [watch.left_s(now) for watch in self._watches]
            waits += [due for due in dues if due is not None]
            self._take(max(0.0, min(waits)) if waits else None)
            self._run_timers()

    def _tick(self, tick: Callable[[], float | None]) -> float | None:
        try:
            return tick()
        except Exception as error:  # noqa: BLE001 - serving must go on, whatever failed
            _log(error)
            return AFTER_FAULT_S

    def _take(self, timeout_s: float | None) -> None:
        try:
            action = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return
        while True:
            self._do(action)
            try:
                action = self._inbox.get_nowait()
            except queue.Empty:
                return

    @staticmethod
    def _do(action: Callable[[], None]) -> bool:
        """Do it; False when it failed."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - serving must go on, whatever failed
            _log(error)
            return False
        return True

    def _run_timers(self) -> None:
        now = self._clock.monotonic()
        for timer in [timer for timer in self._timers if timer.due <= now]:
            if timer.every_s is None:
                self._timers.remove(timer)
            else:
                timer.due = now + timer.every_s()
            self._do(timer.action)
        for watch in self._watches:
            due = watch.left_s(self._clock.monotonic())
            if due is not None and due <= 0 and not self._do(watch.action):
                watch.not_before = self._clock.monotonic() + AFTER_FAULT_S

    def close(self) -> None:
        """End the pool after the steps that are under way."""
        self.pool.shutdown(wait=True, cancel_futures=True)


def _log(error: Exception) -> None:
    if isinstance(error, EdgeliftError):
        log.error("not done code=%s %s", error.code, error)
    else:
        log.error("a fault in edgelift", exc_info=error)
