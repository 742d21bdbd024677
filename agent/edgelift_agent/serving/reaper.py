"""The reaper: destroys retired generations on a thread of its own, once their last request has ended.

Never on a request's thread: a model's destructor can take long, and some runtimes deadlock when it is called
from inside their own run.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgelift_agent.serving.slots import Generation, Slot
from edgelift_agent.system.memory import return_memory
from edgelift_agent.system.standby import begin

log = logging.getLogger(__name__)


@dataclass
class _Retired:
    slot: Slot
    generation: Generation
    timeout_s: float
    on_gone: Callable[[bool], None]


class Reaper:
    """A thread that waits for old generations to drain and gives their memory back."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Retired | None] = queue.SimpleQueue()
        self._pending = 0
        self._idle = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)
        begin(self._thread)

    def retire(
        self,
        slot: Slot,
        generation: Generation,
        timeout_s: float,
        on_gone: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Destroy a generation that is no longer current, when it has drained.

        Args:
            slot: where it served.
            generation: what goes.
            timeout_s: after which a generation that won't drain is reported (and still waited for).
            on_gone: called from the reaper's thread: with False when the time is over, with True at the end.
        """
        with self._idle:
            self._pending += 1
        self._queue.put(_Retired(slot, generation, timeout_s, on_gone))

    @property
    def pending(self) -> int:
        """Generations that are retired but still in memory."""
        return self._pending

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until every retired generation is gone; False when time ran out."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout_s)

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while (retired := self._queue.get()) is not None:
            self._destroy(retired)
            with self._idle:
                self._pending -= 1
                self._idle.notify_all()

    def _destroy(self, retired: _Retired) -> None:
        generation = retired.generation
        if not retired.slot.drain(generation, retired.timeout_s):
            log.warning(
                "generation %d of %s still has %d requests",
                generation.number,
                retired.slot.name,
                generation.leases,
            )
            retired.on_gone(False)
            while not retired.slot.drain(generation, 60.0):
                pass
        generation.model.close()
        return_memory()
        retired.on_gone(True)
