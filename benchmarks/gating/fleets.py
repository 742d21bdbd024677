"""One fleet: every request's latency over two hours, binned as a board's histograms bin it.

The noise is the device simulator's (`edgelift_fleet.simulate.noise`). A slowdown multiplies the latency of a release, so
one fleet serves for every slowdown and for every number of members: only their requests are binned anew.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from edgelift_contract.histogram import DEFAULT_SCALE, HistogramData
from edgelift_fleet.rollout.gates.measure import Stretch
from edgelift_fleet.simulate.noise import Noise

#: Windows of a minute before the swap, and after it; requests in each.
WINDOWS, REQUESTS = 60, 60

#: Log of a middling latency, microseconds, and how far boards lie apart.
_LEVEL, _LEVELS = log(5000.0), 0.1

Logs = NDArray[np.float32]


@dataclass(frozen=True)
class Fleet:
    """Logarithms of latency.

    Attributes:
        before, since: float32[devices, windows, requests], nothing changed yet.
    """

    before: Logs
    since: Logs


def simulate(seed: int, devices: int, noise: Noise) -> Fleet:
    rng = np.random.default_rng(seed)
    drift = np.empty((devices, 2 * WINDOWS))
    drift[:, 0] = noise.first_window(rng, devices)
    for window in range(1, 2 * WINDOWS):
        drift[:, window] = noise.next_window(rng, drift[:, window - 1])
    drift += (_LEVEL + _LEVELS * rng.standard_normal(devices))[:, None]
    drift[:, WINDOWS:] += noise.swap_shift(rng, devices)[:, None] + noise.common_shift(seed, 1)
    logs = rng.standard_normal((devices, 2 * WINDOWS, REQUESTS), dtype=np.float32)
    logs *= np.float32(noise.request_sd)
    logs += drift[:, :, None].astype(np.float32)
    return Fleet(logs[:, :WINDOWS], logs[:, WINDOWS:])


def histograms(logs: Logs, ends: list[int]) -> list[list[Stretch]]:
    """What each device served up to each of `ends` (numbers of windows): [devices][ends]."""
    per_unit = 2.0**DEFAULT_SCALE / log(2.0)
    index = np.ceil(logs * np.float32(per_unit)).astype(np.int64) - 1
    first = int(index.min())
    width = int(index.max()) - first + 1
    devices = len(logs)
    counts = np.zeros((devices, len(ends), width), dtype=np.int64)
    for part, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        rows = (index[:, start:end] - first + (np.arange(devices) * width)[:, None, None]).ravel()
        counts[:, part] = np.bincount(rows, minlength=devices * width).reshape(devices, width)
    counts = counts.cumsum(axis=1)
    lows = np.exp([logs[:, :end].min(axis=(1, 2)) for end in ends]).T
    highs = np.exp([logs[:, :end].max(axis=(1, 2)) for end in ends]).T
    return [
        [_stretch(counts[d, e], first, float(lows[d, e]), float(highs[d, e])) for e in range(len(ends))]
        for d in range(devices)
    ]


def _stretch(counts: NDArray[np.int64], first: int, low: float, high: float) -> Stretch:
    held = np.flatnonzero(counts)
    data = HistogramData(
        offset=first + int(held[0]), counts=counts[held[0] : held[-1] + 1].tolist(), low=low, high=high
    )
    return Stretch(int(counts.sum()), 0, data)
