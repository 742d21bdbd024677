"""Scales and their ticks: where a value stands in a picture, and which round values its axis names. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

#: From a largest that is so many times the least on, a range is read better by its logarithm.
WIDE = 20.0
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STRIDES = (
    _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR,
    6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 5 * _DAY, 10 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY,
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Places values of `low` to `high` along a line from `start` to `stop`, in the picture's units.

    Attributes:
        log: by their logarithm; `low` is above 0 then.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands; one beyond an end stands there."""
        held = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(held / self.low) / math.log(self.high / self.low)
        else:
            share = (held - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)


def fitted(
    values: Sequence[float],
    start: float,
    stop: float,
    *,
    ticks: int = 4,
    log: bool = False,
    zero: bool = True,
    whole: bool = False,
) -> tuple[Scale, list[float]]:
    """A scale that holds these values between round ends, and its ticks.

    Args:
        values: any number of them, even none.
        start: of the line.
        stop: of the line.
        ticks: about so many.
        log: by logarithm, where all are above 0 and far apart; as it is otherwise.
        zero: it begins at 0, unless it is by logarithm.
        whole: there is nothing between two whole numbers.
    """
    least, most = min(values, default=0.0), max(values, default=1.0)
    if log and least > 0 and most / least >= WIDE:
        low, high = least / 1.15, most * 1.15
        return Scale(low, high, start, stop, log=True), log_ticks(low, high, ticks)
    low, high = (min(least, 0.0), most) if zero else (least, most)
    if high <= low:
        low, high = (low, low + 1.0) if zero else (low - 1.0, high + 1.0)
    marks = linear_ticks(low, max(high, low + ticks) if whole else high, ticks)
    return Scale(marks[0], marks[-1], start, stop), marks


def linear_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from the one at or below `low` to the one at or above `high`."""
    step = _round_step((high - low) / max(about, 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _round_step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= 0.9 * wanted)


def log_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values within a range, about so many: powers of ten, with others between where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors, apart in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), apart) for apart in range(1, len(powers) + 1))):
        every = [factor * 10.0**power for power in powers if power % apart == 0 for factor in factors]
        found = [value for value in every if low <= value <= high]
        if len(found) <= about + 1:
            break
    return found


def time_ticks(start: float, end: float, most: int) -> list[tuple[float, str]]:
    """Round moments of UTC between two, seconds since 1970, at most so many, each with its label: `14:05`, or at
    midnight `27 Nov`.
    """
    wanted = (end - start) / max(most, 1)
    stride = next((one for one in _STRIDES if one >= wanted), _STRIDES[-1])
    first = math.ceil(start / stride)
    moments = [number * stride for number in range(first, math.floor(end / stride) + 1)]
    return [(float(at), _label(at)) for at in moments]


def _label(at: int) -> str:
    moment = time.gmtime(at)
    if at % _DAY:
        return time.strftime("%H:%M", moment)
    return f"{moment.tm_mday} {time.strftime('%b', moment)}"
