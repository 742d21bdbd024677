"""Three tests that people write first, each fairly done: over requests, with the same allowed slowdown and the same α.

All look after each window, from the first on. None is used by edgelift: they are here to be seen beside the gate.
"""

from math import log

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.fleets import REQUESTS, WINDOWS, Logs
from edgelift_fleet.rollout.gates.wave import Rules

#: Upper 1 % of the standard normal.
_Z = 2.3263

#: The mixture's tuning point, in windows: the middle of the hour.
_TUNED = 30


class Sums:
    """A fleet's requests as running means over windows: for each device, and the spread of all requests of a side."""

    def __init__(self, before: Logs, since: Logs) -> None:
        self._before = before.mean(axis=(1, 2), dtype=np.float64)
        windows = since.mean(axis=2, dtype=np.float64)
        self._since = windows.cumsum(axis=1) / np.arange(1, WINDOWS + 1)
        self._spread = float(np.concatenate([before, since], axis=1).std(axis=(1, 2)).mean())

    def change(self, devices: slice) -> NDArray[np.float64]:
        """float[windows]: mean log latency since − before, over a side's requests."""
        return np.asarray(self._since[devices].mean(axis=0) - self._before[devices].mean())

    def variance(self, devices: int) -> NDArray[np.float64]:
        """float[windows]: of that change, were requests independent."""
        requests = devices * REQUESTS * np.arange(1, WINDOWS + 1)
        return np.asarray(self._spread**2 * (1 / requests + 1 / (devices * REQUESTS * WINDOWS)))


def first_alarms(
    sums: Sums, members: int, controls: slice, slowdown: float, rules: Rules
) -> dict[str, int | None]:
    """Test → the window after which it alarms, from 1; None for never. `slowdown` is that of the members, logarithm."""
    beyond = sums.change(slice(members)) + slowdown - rules.allowed("latency p95")
    against = beyond - sums.change(controls)
    own = sums.variance(members)
    both = own + sums.variance(controls.stop - controls.start)
    return {
        "before/after z": _first(beyond / np.sqrt(own) > _Z),
        "canary/control z": _first(against / np.sqrt(both) > _Z),
        "anytime-valid": _first(against / both > _boundary(1 / both, rules.alpha)),
    }


def _boundary(information: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """One-sided normal mixture, valid at any time for independent requests (Howard et al. 2021, Time-uniform, eq. 14)."""
    tuned = information[_TUNED - 1] / (2 * log(1 / alpha) + log(1 + 2 * log(1 / alpha)))
    total = information + tuned
    return np.sqrt(2 * total * np.log(np.sqrt(total / tuned) / (2 * alpha) + 1))


def _first(alarms: NDArray[np.bool_]) -> int | None:
    return int(alarms.argmax()) + 1 if alarms.any() else None
