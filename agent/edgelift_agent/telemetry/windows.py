"""Windows and gauges on their way from memory to what waits for the host, at a pace that quickens in probation."""

from __future__ import annotations

import random
from collections.abc import Callable

from edgelift_agent.config import TelemetryConfig
from edgelift_agent.system.clock import Clock
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_agent.telemetry.outbox import Notice
from edgelift_agent.telemetry.queue import TelemetryQueue
from edgelift_contract.telemetry import Gauges


class Telemetry:
    """Closes windows; for the worker's thread."""

    def __init__(
        self,
        recorder: LatencyRecorder,
        outbox: TelemetryQueue,
        clock: Clock,
        config: TelemetryConfig,
        *,
        gauges: Callable[[], dict[str, float]],
        wanted: Callable[[], None],
        device: str,
    ) -> None:
        """Bind the parts; `wanted` is called when there is telemetry that should be sent now."""
        self._recorder, self._outbox, self._clock, self._config = recorder, outbox, clock, config
        self._gauges, self._wanted = gauges, wanted
        self._start = clock.now()
        # Seeded by the device: each keeps its own place in the interval, the fleet is spread over it.
        self._spread = random.Random(device).uniform(0.5, 1.0)  # noqa: S311 - spreading load, not guarding a secret
        self._publish_at = clock.monotonic() + config.publish_interval_s * self._spread

    def interval_s(self) -> float:
        """Until the next window should be closed, seconds."""
        quick = bool(self._recorder.in_probation)
        return self._config.probation_window_s if quick else self._config.window_s

    def close_window(self) -> None:
        """End the open windows, keep them on disk, and send them when it is time."""
        now = self._clock.now()
        windows = self._recorder.close_windows(now)
        notices: list[Notice] = [*windows]
        gauges = self._gauges()
        if gauges:
            notices.append(Gauges(start=self._start, end=now, values=gauges))
        self._start = now
        self._outbox.add(notices)
        self._outbox.bound(self._config.outbox_limit_bytes)
        if any(window.probation for window in windows) or self._clock.monotonic() >= self._publish_at:
            self._publish_at = self._clock.monotonic() + self._config.publish_interval_s
            self._wanted()
