"""What simulated boards measure: latencies whose noise is that of a fleet, not of a formula.

Requests of one board are no independent samples: its windows drift together, a swap shifts them for good, and a hot
day shifts the whole fleet. A gate that is tested on independent samples looks far better than it is. Sizes are in
standard deviations of log latency; they are assumed, as no fleet has been measured yet.

All functions take numbers or arrays alike, so that whole fleets can be drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from edgelift_contract.histogram import DEFAULT_SCALE, HistogramData

#: Latencies are kept within these, microseconds: what a clock can tell, and a day.
_LOW_US, _HIGH_US = 0.01, 86_400e6


@dataclass(frozen=True)
class Noise:
    """Sizes of what moves a board's latency, standard deviations of its logarithm.

    Attributes:
        window_sd: of a board's window around its own level; follows the window before by `window_rho`.
        window_rho: correlation of one window with the next, 0 to 1.
        swap_sd: of the lasting shift that each swap brings, whatever the version.
        common_sd: of what hits every board alike, drawn anew for each stretch of time.
        request_sd: of requests within one window.
    """

    window_sd: float = 0.10
    window_rho: float = 0.8
    swap_sd: float = 0.05
    common_sd: float = 0.10
    request_sd: float = 0.25

    def first_window(self, rng: np.random.Generator, size: Any = None) -> Any:
        """The window effect that a board begins with: from its stationary distribution."""
        return self.window_sd * rng.standard_normal(size)

    def next_window(self, rng: np.random.Generator, effect: Any) -> Any:
        """The window effect after `effect`: AR(1), of the same spread for ever."""
        fresh = self.window_sd * sqrt(1 - self.window_rho**2)
        return self.window_rho * effect + fresh * rng.standard_normal(np.shape(effect) or None)

    def swap_shift(self, rng: np.random.Generator, size: Any = None) -> Any:
        """The lasting shift of one swap."""
        return self.swap_sd * rng.standard_normal(size)

    def common_shift(self, seed: int, stretch: int) -> float:
        """What hits every board in the stretch of time of this number; the same for all that share the seed."""
        return float(self.common_sd * np.random.default_rng([seed, 0xC0, stretch % 2**32]).standard_normal())


def draw_latencies(rng: np.random.Generator, count: int, median_us: float, sd: float) -> HistogramData:
    """A histogram of `count` ≥ 1 log-normal latencies, microseconds; `sd` is of their logarithm."""
    values = np.clip(median_us * np.exp(sd * rng.standard_normal(count)), _LOW_US, _HIGH_US)
    index = np.ceil(np.log2(values) * 2.0**DEFAULT_SCALE).astype(np.int64) - 1
    first = int(index.min())
    return HistogramData(
        scale=DEFAULT_SCALE,
        offset=first,
        counts=np.bincount(index - first).tolist(),
        total=round(float(values.sum()), 3),
        low=round(float(values.min()), 3),
        high=round(float(values.max()), 3),
    )
