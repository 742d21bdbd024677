"""What is done every so often while the agent runs: windows closed, what is due sent, the machine looked at."""

from __future__ import annotations

from collections.abc import Callable

from edgelift_agent.parts.events import Events
from edgelift_agent.parts.host_link import HostLink
from edgelift_agent.parts.serving import Serving
from edgelift_agent.parts.state_folder import StateFolder
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.parts.trust import Trust
from edgelift_agent.system import systemd
from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.windows import Telemetry
from edgelift_agent.worker import Timer, Worker

#: A process that lived this long did not die of what it serves, seconds.
STABLE_AFTER_S = 60.0
#: How often to look whether the processor is throttled, where the board tells, seconds.
THROTTLE_SAMPLE_S = 10.0


class Upkeep:
    """The worker's timers. All of it is for the worker's thread."""

    def __init__(
        self,
        worker: Worker,
        clock: Clock,
        state: StateFolder,
        trust: Trust,
        serving: Serving,
        machine: ThisMachine,
        host: HostLink,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        """Bind the parts; nothing is due before `start`."""
        self._worker, self._clock, self._state, self._trust = worker, clock, state, trust
        self._serving, self._machine, self._host = serving, machine, host
        self._telemetry, self._events = telemetry, events
        self._windows: Timer | None = None

    def start(self, look_again_s: float, on_stable: Callable[[], None]) -> None:
        """Set the timers.

        Args:
            look_again_s: how often to look after what could not be opened or read, seconds.
            on_stable: called once the process has lived for `STABLE_AFTER_S`.
        """
        worker = self._worker
        self._windows = worker.every(self._telemetry.interval_s, self._telemetry.close_window)
        worker.when(self._host.uplink.due_in_s, self._host.uplink.push)
        worker.when(self._host.telling.due_in_s, self._host.tell_held)
        self._sample_throttling()
        if self._machine.health.tells_throttling:
            worker.every(lambda: THROTTLE_SAMPLE_S, self._sample_throttling)
        worker.once(STABLE_AFTER_S, on_stable)
        worker.every(lambda: look_again_s, self._look_around)
        beat = systemd.watchdog_interval_s()
        if beat is not None:
            worker.every(lambda: beat, lambda: systemd.notify("WATCHDOG=1"))

    def hasten_window(self) -> None:
        """Close the open window no later than one of now would be: in probation they are shorter."""
        if self._windows is not None:
            due = self._clock.monotonic() + self._telemetry.interval_s()
            self._windows.due = min(self._windows.due, due)

    def _look_around(self) -> None:
        self._state.look_again()
        self._trust.look_again()
        self._serving.look_again()
        self._machine.health.check_clock(self._clock.now())
        self._machine.health.check_descriptors()

    def _sample_throttling(self) -> None:
        now, recorder = self._machine.health.throttled(), self._serving.recorder
        if now != recorder.throttled:
            recorder.throttled = now
            self._events.add(
                *(("throttled", "The processor is slowed down.") if now else ("unthrottled", "Full speed again."))
            )
            self._host.uplink.want_batch()
