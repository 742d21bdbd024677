"""Can a board have measured this? A pure rule over one window, or one gauge; what can't be is set aside, by its own words.

A board may be broken, or forged by whoever has its token. What no board can serve must not enter the fleet's sums, its
charts, a rollout's evidence or a gate. The bounds are far from what any board does, so that no honest one is doubted:

- `MOST_PER_S` requests in a second: an empty call into the agent takes some microseconds, a model never less.
- A request takes at least `SHORTEST_US` (half of them, at any rate: clocks are coarse) and at most a day.
- A histogram is one of the requests it is said to be of: no more values than requests, and its sum, least and most lie
  where its buckets do.
- A gauge lies within what its unit allows.

What is not judged: *when* it was. A board without a clock believes it is 1970 until it reaches a time server, so a time
that can't be is filed under when it came (`store`), and a window that spans such a step counts as a day.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgelift_contract.histogram import ZERO_THRESHOLD, Histogram, HistogramData
from edgelift_contract.telemetry import Window

#: Requests that one slot can serve in a second.
MOST_PER_S = 100_000
#: Latency, microseconds: half of the requests take at least so long …
SHORTEST_US = 0.1
#: … and none takes longer: a day.
LONGEST_US = 86_400e6
#: A window is no longer, seconds: the agent joins what waits to at most a day. And none counts for less than a minute:
#: its end may come from a clock that was set back meanwhile.
_DAY_S, _MINUTE_S = 86_400.0, 60.0
#: What rounding to thousandths may bring, microseconds, and as a share.
_ROUNDED_US, _SHARE = 0.002, 1e-6

#: How a gauge's name ends, or begins → the least and the most that it can be.
_GAUGES: Mapping[str, tuple[float, float]] = {
    "_temp_c": (-100.0, 300.0), "_pct": (0.0, 100_000.0), "_bytes": (0.0, 2.0**60), "_mhz": (0.0, 100_000.0),
    "_w": (0.0, 100_000.0), "_s": (0.0, 1e10), "_rpm": (0.0, 1e6), "_1m": (0.0, 1e6), "throttled": (0.0, 1.0),
    "_boot": (0.0, 1.0), "_voltage": (0.0, 1.0), "_capped": (0.0, 1.0), "_limit": (0.0, 1.0), "_current": (0.0, 1.0),
}  # fmt: skip
#: Of any other name.
_ANY = (-1e15, 1e15)


def doubt_window(window: Window) -> str:
    """Why no board can have measured this window, as a sentence; empty when one can."""
    requests, length_s = window.ok + window.errors, _length_s(window)
    most = int(length_s * MOST_PER_S)
    if requests > most:
        return f"{requests} requests in {length_s:.0f} s are said to be served; {most} can be."
    for phase, data in window.latency_us.items():
        if why := _doubt_latency(data, requests, total=phase == "total"):
            return f"The latency of {phase} {why}."
    return ""


def _length_s(window: Window) -> float:
    """How long a window was; a day where the board's clock was set meanwhile, and for any that claims more."""
    length_s = window.end - window.start
    return max(length_s, _MINUTE_S) if 0 <= length_s <= _DAY_S else _DAY_S


def _doubt_latency(data: HistogramData, requests: int, *, total: bool) -> str:
    count = data.count
    if count > requests:
        return f"is of {count} requests, and {requests} were served"
    if not count:
        return ""
    if data.high > LONGEST_US:
        return f"is {data.high / 1e6:.3g} s at most, longer than a day"
    if total and data.low < SHORTEST_US and Histogram.from_data(data).quantile(0.5) < SHORTEST_US:
        return f"is under {SHORTEST_US:g} µs for half of them: nothing answers so fast"
    return "" if _agrees(data, count) else "has a sum, a least or a most that its counts can't have"


def _agrees(data: HistogramData, count: int) -> bool:
    """Do sum, least and most lie where the buckets are?"""
    slack = _ROUNDED_US + _SHARE * data.high
    if not data.low - slack <= data.total / count <= data.high + slack:
        return False
    if data.zeros == count:
        return data.high <= ZERO_THRESHOLD + _ROUNDED_US
    first = next(n for n, number in enumerate(data.counts) if number)
    last = next(n for n in range(len(data.counts) - 1, -1, -1) if data.counts[n])
    if not _lies_in(data, last, data.high, slack):
        return False
    return data.low <= ZERO_THRESHOLD + _ROUNDED_US if data.zeros else _lies_in(data, first, data.low, slack)


def _lies_in(data: HistogramData, bucket: int, value: float, slack: float) -> bool:
    factor = 2.0**data.scale
    least, most = 2.0 ** ((data.offset + bucket) / factor), 2.0 ** ((data.offset + bucket + 1) / factor)
    return bool(least - slack <= value <= most + slack)


def doubt_gauge(name: str, value: float) -> str:
    """Why no board can have read this, as a sentence; empty when one can."""
    least, most = next((span for end, span in _GAUGES.items() if name.endswith(end)), _ANY)
    return (
        ""
        if least <= value <= most
        else f"{name} is said to be {value:g}; it lies between {least:g} and {most:g}."
    )
