"""Channels that are too small to decide, beside shares of 1, and of which nothing is left: told, and not refused.

A channel of 0 to 0.002 beside others up to 1 may be a quantity, which matters, or the share of a class that never occurs
among the samples, which 8 bits round to 0 in any sound artifact. Nothing in the values tells one from the other; a person
knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge.agreement import BLIND, squares
from edgelift_builder.judge.case import numbers
from edgelift_builder.judge.channels import Channels, channels
from edgelift_builder.judge.measure import Numbers

#: What varies by less, as a share of what it is held to, is constant but for rounding.
_ROUNDING = 1e-4


def remarks(outputs: DataSet, reference: DataSet) -> tuple[str, ...]:
    """A sentence for each output with such channels."""
    compared = [(name, outputs[name], wanted) for name, wanted in reference.items() if _are_shares(wanted)]
    return tuple(said for name, found, wanted in compared if (said := _remark(name, found, wanted)))


def _are_shares(wanted: Array) -> bool:
    """Of things that don't shut each other out: of classes of which one holds, the largest says all."""
    if ragged.is_ragged(wanted) or wanted.dtype.kind != "f" or not wanted.size or wanted.ndim < 2:
        return False
    values = numbers(wanted)
    return not any(np.allclose(values.sum(axis=axis), 1, atol=1e-2) for axis in {1, wanted.ndim - 1})


def _remark(name: str, found: Array, wanted: Array) -> str:
    if found.shape != wanted.shape:
        return ""
    blind = list(_blind(found, wanted))
    if not blind:
        return ""
    axis, channel, error = max(blind, key=lambda one: one[2])
    most = float(np.take(numbers(wanted), channel, axis=axis).max())
    more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
    return (
        f"{name}, axis {axis}, channel {channel}{more}: nothing is left of values up to {most:.2g}, which are off by "
        f"{100 * error:.0f} % of their own variation. Beside shares up to {float(wanted.max()):.2g} that decides nothing: "
        "a label that never occurs looks the same; if it is a quantity, give it an output or labels of its own, or scale it."
    )


def _blind(found: Array, wanted: Array) -> Iterator[tuple[int, int, float]]:
    """Axis, number and relative error of each."""
    off = squares(found, wanted)
    for one in channels(wanted):
        if one.own is not None and one.axis:
            for channel, error in enumerate(_errors(one, one.own, off)):
                if error > BLIND / 100:
                    yield one.axis, channel, float(error)


def _errors(one: Channels, own: Numbers, off: Array) -> Numbers:
    """By each channel's own variation; 0 for those that have a say, and for constants."""
    rows, scale = next(one.parts(off))
    small = (own < scale) & (own > _ROUNDING * scale)
    made: Numbers = np.where(small, np.sqrt(rows.mean(axis=0)) / np.where(small, own, 1.0), 0.0)
    return made
