"""The device's own check: a program of its owner that has a say in every probation.

It is run right after a swap and again every so often while the probation lasts, one at a time for all slots, on a thread
that does nothing else: neither serving nor the polls nor another slot's update waits for it. Nothing of it is kept over a
restart: whoever goes on with a probation asks anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from edgelift_agent.config import UpdateConfig
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.command import end_marked, run_command
from edgelift_agent.update.check_answer import CheckAnswer, answer_of, judge_with_check, not_started
from edgelift_agent.update.records import UpdateRow
from edgelift_contract.probation import Verdict

log = logging.getLogger(__name__)


@dataclass
class _Asking:
    """One probation's questions.

    Attributes:
        swapped_at: which probation, by when it began, monotonic seconds.
        running: the check is under way, or waits for another slot's to end.
        due: monotonic time of the next question, seconds.
        last: its newest answer.
        cancelled: nobody wants to know any more.
    """

    swapped_at: float
    running: bool = False
    due: float = 0.0
    last: CheckAnswer | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class OwnCheck:
    """Asks the check, and holds what it said. Used from the worker's thread only."""

    def __init__(
        self,
        config: UpdateConfig,
        environment: Callable[[], Mapping[str, str]],
        mark: str,
        clock: Clock,
        pool: Executor,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """Bind.

        Args:
            config: `check` must not be empty.
            environment: what the check is told, whichever slot it is asked for.
            mark: of this agent alone, see `command.run_command`.
            clock: the agent's.
            pool: one thread of its own.
            post: hands a callable to the worker's thread.
        """
        self._config, self._environment, self._mark = config, environment, mark
        self._clock, self._pool, self._post = clock, pool, post
        self._asking: dict[str, _Asking] = {}

    def start(self) -> None:
        """End what an agent that was killed left running."""
        self._pool.submit(end_marked, self._mark)

    def judge(self, slot: str, update: UpdateRow, swapped_at: float, verdict: Verdict, over_s: float) -> Verdict:
        """The verdict with the check's say in it; begins to ask where it is time.

        Args:
            slot: in probation.
            update: its own.
            swapped_at: when the probation began or went on, monotonic seconds.
            verdict: by what was served.
            over_s: since the probation's time was over, seconds; negative before.
        """
        asking = self._asking.get(slot)
        if asking is None or asking.swapped_at != swapped_at:
            self._forget(slot)
            asking = self._asking[slot] = _Asking(swapped_at)
        last, running = asking.last, asking.running
        judged = judge_with_check(verdict, last, running=running, over_s=over_s, wait_s=self._config.check_wait_s)
        if judged.kind != "wait":
            self._forget(slot)
        elif not running and asking.due <= self._clock.monotonic():
            self._ask(slot, asking, update)
        return judged

    def _ask(self, slot: str, asking: _Asking, update: UpdateRow) -> None:
        environment = {**self._environment(), **_words(slot, update)}
        asking.running = True

        def run() -> None:
            answer = self._run(environment, asking.cancelled.is_set)
            self._post(lambda: self._answered(slot, asking, answer))

        try:
            self._pool.submit(run)
        except RuntimeError:  # the agent is stopping
            asking.cancelled.set()

    def _run(self, environment: Mapping[str, str], cancelled: Callable[[], bool]) -> CheckAnswer | None:
        """On the pool's thread; None when it was cancelled."""
        if cancelled():
            return None
        argv, timeout_s = self._config.check, self._config.check_timeout_s
        try:
            end = run_command(argv, environment, self._mark, timeout_s=timeout_s, cancelled=cancelled)
        except OSError as error:
            return not_started(argv[0], error)
        except Exception as error:
            log.exception("the device's own check could not be run")
            return CheckAnswer("bad", "internal", f"A fault in edgelift: {type(error).__name__}: {error}")
        return None if end.how == "cancelled" else answer_of(argv[0], end, timeout_s)

    def _answered(self, slot: str, asking: _Asking, answer: CheckAnswer | None) -> None:
        asking.running = False
        if answer is None or asking.cancelled.is_set():
            return
        asking.last, asking.due = answer, self._clock.monotonic() + self._config.check_every_s
        log.info("slot=%s check=%s code=%s %s", slot, answer.kind, answer.code, answer.message)

    def keep_only(self, slots: Collection[str]) -> None:
        """End the questions of all other slots: their probation is over, whatever ended it."""
        for slot in [slot for slot in self._asking if slot not in slots]:
            self._forget(slot)

    def _forget(self, slot: str) -> None:
        asking = self._asking.pop(slot, None)
        if asking is not None:
            asking.cancelled.set()

    def close(self) -> None:
        """End what is under way, and the thread."""
        self.keep_only(())
        self._pool.shutdown(wait=True, cancel_futures=True)


def _words(slot: str, update: UpdateRow) -> dict[str, str]:
    """What the check is told of the model in probation."""
    desired = update.desired
    return {
        "EDGELIFT_SLOT": slot, "EDGELIFT_MODEL": desired.model, "EDGELIFT_VERSION": desired.version,
        "EDGELIFT_ARTIFACT": desired.artifact,
        "EDGELIFT_VERSION_BEFORE": update.record.version_from if update.record is not None else "",
    }  # fmt: skip
