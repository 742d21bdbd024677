"""Threads that are there before they are needed.

Where processes or memory are short no thread can be begun, and a thread whose first step finds no memory keeps whoever
began it waiting for ever (CPython waits for a word that never comes). What an agent needs to answer, to be asked and to
try again is therefore begun at its start, and never afterwards.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from edgelift_contract.errors import DeviceError

log = logging.getLogger(__name__)

T = TypeVar("T")


def begin(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        DeviceError: `no-memory` where the system allows no more.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise DeviceError("no-memory", f"No thread {thread.name} can be started: {error}.") from error


class StandbyThreads(Executor):
    """A pool of threads that all begin with it; they keep no process from ending."""

    def __init__(self, count: int, name: str) -> None:
        """Begin `count` threads.

        Raises:
            DeviceError: `no-memory`.
        """
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            begin(thread)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have one of the threads call `fn`.

        Raises:
            RuntimeError: after `shutdown`.
        """
        if self._closed:
            raise RuntimeError("The threads are ending.")
        future: Future[T] = Future()
        self._queue.put((future, partial(fn, *args, **kwargs)))
        return future

    def _run(self) -> None:
        while (taken := self._queue.get()) is not None:
            try:
                _do(*taken)
            except BaseException as error:  # noqa: BLE001 - no memory for the answer: the next one may have it
                log.error("an answer of %s was lost: %r", threading.current_thread().name, error)
            del taken  # a request's arrays are not kept until the next one comes

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads after what they are doing, and what waits unless that is cancelled."""
        self._closed = True
        while cancel_futures:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is not None:
                waiting[0].cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads if wait else ():
            thread.join()


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for it
        future.set_exception(error)
    else:
        future.set_result(result)
