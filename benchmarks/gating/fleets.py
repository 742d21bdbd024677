"""One fleet: every request's latency over two hours, binned as a board's histograms bin it.

The noise is the device simulator's (`edgelift_fleet.simulate.noise`). A slowdown multiplies the latency of a release, so
one fleet serves for every slowdown and for every number of members: only their requests are binned anew.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.binned import Binned, Floats, bin_up
from edgelift_fleet.simulate.noise import Noise

#: Windows of a minute before the swap, and after it; requests in each.
WINDOWS, REQUESTS = 60, 60

#: Log of a middling latency, microseconds, and how far boards lie apart.
LEVEL, LEVELS = log(5000.0), 0.1

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
    moved = effects(rng, seed, devices, WINDOWS, noise)
    moved += (LEVEL + LEVELS * rng.standard_normal(devices))[:, None]
    logs = rng.standard_normal((devices, 2 * WINDOWS, REQUESTS), dtype=np.float32)
    logs *= np.float32(noise.request_sd)
    logs += moved[:, :, None].astype(np.float32)
    return Fleet(logs[:, :WINDOWS], logs[:, WINDOWS:])


def effects(rng: np.random.Generator, seed: int, devices: int, windows: int, noise: Noise) -> Floats:
    """float[devices, WINDOWS + windows]: what moves each board in each minute, before the swap and in `windows` after it."""
    moved = np.empty((devices, WINDOWS + windows))
    moved[:, 0] = noise.first_window(rng, devices)
    for window in range(1, moved.shape[1]):
        moved[:, window] = noise.next_window(rng, moved[:, window - 1])
    moved[:, WINDOWS:] += noise.swap_shift(rng, devices)[:, None] + noise.common_shift(seed, 1)
    return moved


def binned(logs: Logs, ends: list[int]) -> Binned:
    """What each device served up to each of `ends` (numbers of windows)."""
    devices, windows, requests = logs.shape
    moment = np.searchsorted(ends, np.arange(windows), side="right")
    places = (np.arange(devices) * len(ends))[:, None] + moment
    return bin_up(np.repeat(places.ravel(), requests), logs.ravel().astype(np.float64), devices, len(ends))
