"""One number per device and thing that is watched, out of its own histograms and counts.

Latency is compared with the same device's before the wave, within the same throttle state, as the difference of
logarithms: boards of one class differ by more than releases do. Larger is worse everywhere. NaN: it doesn't count,
because it served too little, or nothing before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, nan

import numpy as np
from numpy.typing import NDArray

from edgelift_contract.histogram import HistogramData

#: What is watched → the series that tell it. Two of the latency: a release may be slow always, or at times.
SERIES: Mapping[str, tuple[str, ...]] = {
    "latency": ("latency p50", "latency p95"),
    "errors": ("error share",),
    "silence": ("silence", "no requests"),
}


@dataclass(frozen=True)
class Stretch:
    """What a device served in a stretch of time, in one throttle state.

    Attributes:
        requests, errors: answered and failed together; failed.
        latency: of the answered ones, microseconds.
    """

    requests: int
    errors: int
    latency: HistogramData


@dataclass(frozen=True)
class Reading:
    """What a device did before the wave, and since.

    Attributes:
        before, since: throttled? → what it served.
        silent: was it there when the wave began, and isn't heard any more?
    """

    before: Mapping[bool, Stretch]
    since: Mapping[bool, Stretch]
    silent: bool = False


def measure(reading: Reading, *, member: bool, min_requests: int) -> dict[str, float]:
    """The device's number in every series.

    Args:
        reading: of the device.
        member: is it in the wave? A member's latency is taken as low as its histograms allow, see `doubt`.
        min_requests: it counts from so many on, before and since, in one throttle state.
    """
    return {
        "latency p50": _slower(reading, 0.50, member, min_requests),
        "latency p95": _slower(reading, 0.95, member, min_requests),
        "error share": _more_errors(reading, min_requests),
        "silence": float(reading.silent),
        "no requests": _idle(reading, min_requests),
    }


def _slower(reading: Reading, q: float, member: bool, min_requests: int) -> float:
    total = weights = 0.0
    for throttled, since in reading.since.items():
        before = reading.before.get(throttled)
        if before is None or min(before.latency.count, since.latency.count) < max(min_requests, 1):
            continue
        weight = min(before.latency.count, since.latency.count)
        change = log_quantile(since.latency, q) - log_quantile(before.latency, q)
        doubted = doubt(since.latency, q) + doubt(before.latency, q) if member else 0.0
        total += weight * (change - doubted)
        weights += weight
    return total / weights if weights else nan


def _more_errors(reading: Reading, min_requests: int) -> float:
    before, since = list(reading.before.values()), list(reading.since.values())
    if min(sum(s.requests for s in before), sum(s.requests for s in since)) < max(min_requests, 1):
        return nan
    return _share(since) - _share(before)


def _idle(reading: Reading, min_requests: int) -> float:
    """1 for a device that had requests before and has served not one since; who serves fewer may be asked less."""
    if sum(s.requests for s in reading.before.values()) < max(min_requests, 1):
        return nan
    return float(not any(s.requests for s in reading.since.values()))


def _share(parts: list[Stretch]) -> float:
    return sum(s.errors for s in parts) / sum(s.requests for s in parts)


def log_quantile(data: HistogramData, q: float) -> float:
    """Natural logarithm of the quantile `q`, evenly within its bucket; NaN when it lies in the zero bucket.

    A bucket's middle, as pages show it, jumps by 4.4 % where the value crosses an edge: nearly the slowdown that is
    allowed, in all boards of a kind at once. Within the bucket it moves with the value.
    """
    index, within = _place(data, q)
    if index < 0:
        return nan
    place = (data.offset + index + within) * _width(data)
    return min(max(place, log(data.low)), log(data.high)) if data.low > 0 else place


def doubt(data: HistogramData, q: float) -> float:
    """How far `log_quantile` may be off, because its bucket doesn't tell where in it the values lie; 0 when it does.

    Where values spread over several buckets the neighbours tell. A board so steady that two buckets hold nearly all
    that lies about the quantile is known to one bucket's width: such boards, all at one place of their bucket, would
    else alarm by half at the slowdown that is allowed (tests/fleet/test_gates.py).
    """
    index, _ = _place(data, q)
    if index < 0:
        return 0.0
    about = [data.counts[i] if 0 <= i < len(data.counts) else 0 for i in range(index - 2, index + 3)]
    return _width(data) * float(spread_doubt(np.array(about)))


def spread_doubt(about: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of a bucket's width by which its place isn't known: int[5, …], the buckets about it → float[…], 0 to 1."""
    in_two = (about[2] + np.maximum(about[1], about[3])) / np.maximum(about.sum(axis=0), 1)
    return np.asarray(np.maximum(0.0, in_two - _SPREAD) / (1.0 - _SPREAD))


#: What two of five neighbouring buckets hold of a spread of about one bucket's width: from there on the place is known.
_SPREAD = 0.6


def _width(data: HistogramData) -> float:
    return log(2.0) / 2.0**data.scale


def _place(data: HistogramData, q: float) -> tuple[int, float]:
    """The index within `counts` of the bucket that holds a quantile, and where in it, 0 to 1; -1 for none."""
    wanted = q * data.count - data.zeros
    if wanted <= 0:
        return -1, 0.0
    for index, n in enumerate(data.counts):
        if wanted <= n:
            return index, wanted / n
        wanted -= n
    return len(data.counts) - 1, 1.0
