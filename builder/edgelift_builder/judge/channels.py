"""A channel's own range: what a difference in it is told by.

A range is the standard deviation of float's values. Two kinds are no such range: a channel that is constant is held to its
value; and one whose spread is nearly all in a few values far outside (a sum that overflows now and then) is looked at
without them too, for beside them everything else could be lost and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgelift_builder.data import Array
from edgelift_builder.judge.case import numbers
from edgelift_builder.judge.measure import Numbers

#: Shares of 1 vary by at least this much of the largest of them for the purpose: a class that never occurs among the samples
#: varies by nothing. An output that is small as a whole has nothing else to be judged by.
_LEAST_SHARE = 0.02

#: A channel that is constant in float is held to its value: an error of a tenth is then this share of it as large. One that
#: is always 0 to as much of what others usually vary by.
_CONSTANT_SHARE = 0.1

#: Axes that are longer are places, not channels.
_MOST_CHANNELS = 4096

#: The share of a channel's values that is left aside at each end; and where tails hide the rest, the share of the spread
#: that the rest has at most.
_TAIL, _HIDDEN = 0.005, 0.05

#: Rows by which tails are looked for.
_ROWS = 20_000


@dataclass(frozen=True)
class Channels:
    """The channels along one axis.

    Attributes:
        axis: 1 or the last; 0 for one number per sample.
        scale: float64[channels], the range of each.
        hidden: numbers of those whose tails hide the rest.
        inside: bool, in the values' shape with the axis last and only hidden channels: which are no tails.
        inner: float64[hidden channels], the range of the rest.
        own: of shares of 1, float64[channels], by how much each varies itself; see `small`.
    """

    axis: int
    scale: Numbers
    hidden: Array
    inside: Array | None = None
    inner: Numbers | None = None
    own: Numbers | None = None

    def parts(self, squares: Array) -> Iterator[tuple[Numbers, Numbers]]:
        """Mean squares of each sample in each channel, float64[n, channels], and the channels' ranges.

        Args:
            squares: squared differences, in the values' shape.
        """
        rows = _rows(squares, self.axis)
        yield rows.mean(axis=1), self.scale
        if self.inside is not None and self.inner is not None:
            share = self.inside.mean(axis=(0, 1))
            yield (rows[..., self.hidden] * self.inside).mean(axis=1) / np.maximum(share, 1e-9), self.inner


def channels(wanted: Array) -> list[Channels]:
    """Of the axes along which values have ranges of their own: axis 1 and the last; 0 for one number per sample."""
    if wanted.ndim == 1:
        return [_along(wanted, 0)]
    axes = dict.fromkeys((1, wanted.ndim - 1))
    return [_along(wanted, k) for k in axes if wanted.shape[k] <= _MOST_CHANNELS or k == wanted.ndim - 1]


def _rows(values: Array, axis: int) -> Array:
    """[n, places, channels]."""
    if axis == 0:
        return values.reshape(-1, 1, 1)
    moved = np.moveaxis(values, axis, -1)
    return moved.reshape(len(values), -1, moved.shape[-1])


def _along(wanted: Array, axis: int) -> Channels:
    values = _rows(numbers(wanted), axis)
    finite = np.isfinite(values)
    clean = np.where(finite, values, 0.0)
    spread, size = _spread(clean, finite), np.abs(clean).max(axis=(0, 1))
    if bool(((values >= 0) & (values <= 1)).all()):
        least = _LEAST_SHARE * (float(size.max()) or 1.0)
        return Channels(axis, np.maximum(spread, least), np.empty(0, np.int64), own=spread)
    constant = spread <= 1e-6 * size
    held = np.where(size > 0, size, _usual(spread[~constant]))
    scale = np.where(constant, np.maximum(_CONSTANT_SHARE * held, 1e-12), spread)
    return _with_hidden(axis, scale, values, finite & ~constant)


def _usual(spreads: Numbers) -> float:
    """What stands in for the value of a channel that is always 0 (a unit that never fires): how much others vary."""
    return float(np.median(spreads)) if len(spreads) else 0.0


def _spread(clean: Array, counted: Array) -> Numbers:
    count = np.maximum(counted.sum(axis=(0, 1)), 1)
    mean = np.where(counted, clean, 0.0).sum(axis=(0, 1)) / count
    made: Numbers = np.sqrt(np.where(counted, (clean - mean) ** 2, 0.0).sum(axis=(0, 1)) / count)
    return made


def _with_hidden(axis: int, scale: Numbers, values: Array, counted: Array) -> Channels:
    flat = values.reshape(-1, values.shape[-1])
    some = flat[:: max(1, len(flat) // _ROWS)]
    ends = (_TAIL, 0.25, 0.75, 1 - _TAIL)
    low, first, third, high = np.quantile(np.where(np.isfinite(some), some, 0.0), ends, axis=0)
    inside = counted & (values >= low) & (values <= high)
    inner = _spread(np.where(inside, values, 0.0), inside)
    beyond = (flat < 0).any(axis=0) | (flat > 1).any(
        axis=0
    )  # shares are mostly next to nothing, and that is no loss
    varied = third - first > 0.1 * inner  # and so is what is mostly one value
    hidden = np.flatnonzero(
        (inner < _HIDDEN * scale) & (inner > 0) & beyond & varied
    )  # of two or three nothing is inside
    if not len(hidden):
        return Channels(axis, scale, hidden)
    return Channels(axis, scale, hidden, inside[..., hidden], inner[hidden])
