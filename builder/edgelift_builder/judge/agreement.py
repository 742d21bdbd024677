"""How near an artifact's values come to the float model's, where nobody said what is right.

Every output is judged, and in it every channel by its own range: the difference's root mean square ÷ the standard
deviation of float's own values there, the *relative error*; its square is the noise-to-signal ratio. A channel that says
nothing any more (a detector's scores beside boxes in pixels, crushed by one scale for both) has a relative error of 1 and
more, however small its numbers. The worst channel decides. What is whole numbers or text has to be the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case, Metric, in_rows, numbers
from edgelift_builder.judge.channels import Channels, channels
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample, Sums, value
from edgelift_builder.judge.vanished import Right

#: Most that the worst channel may be off, per cent of its own variation: a cosine of 0.995 to float's.
LIMIT = 10.0

#: With which a channel says nothing any more of what it said: a cosine of 0.87.
BLIND = 50.0

#: Square of a difference that is none: NaN, or an infinity that float has not.
_BEYOND = 1e30

VALUES = Measure("relative error", better="lower", unit="percent", least=1.0, usual=LIMIT)
SAME = Measure("agreement")


def agreement(case: Case) -> list[Metric]:
    """A metric for each output, in their order."""
    return [of(name, array) for name, array in case.reference.items()]


def of(name: str, float_values: Array, limit: float = LIMIT) -> Metric:
    """The output `name` against float's values of it; `limit`: what its worst channel may be off, per cent."""
    if ragged.is_ragged(float_values) or not (float_values.size and _are_quantities(float_values)):
        return Metric(
            SAME, lambda out: PerSample(_same(out[name], float_values)), f"{name}, the same as float's", None,
            looks_at=(name,),
        )  # fmt: skip
    against = _Against(float_values)
    return Metric(
        replace(VALUES, usual=limit), lambda out: against.error(out[name]),
        f"{name}, the worst channel against float's", looks_at=(name,),
    )  # fmt: skip


#: Quantities rounded to 8 or 16 bits, as of a picture, take more values than classes would.
_LEVELS = 64


def _are_quantities(array: Array) -> bool:
    """Numbers of which near ones are alike: floats, and what a graph rounded to 8 or 16 bits at its end."""
    if array.dtype.kind == "f":
        return True
    narrow = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
    return narrow and array[0].size > 1 and len(np.unique(array)) > _LEVELS


def chosen(name: str, case: Case) -> Metric:
    """For class scores, beside their values: how often the largest is that of the same class."""
    wanted = in_rows(case.reference[name]).argmax(-1)

    def same(out: DataSet) -> Array:
        made: Array = in_rows(out[name]).argmax(-1) == wanted
        return made

    def rights(out: DataSet) -> Right:
        hits = np.nonzero(same(out))
        return Right(wanted[hits], hits[0])

    return Metric(
        SAME, lambda out: PerSample(same(out).astype(np.float64)), f"{name}, the largest the same as float's",
        looks_at=(name,), rights=rights,
    )  # fmt: skip


def are_class_scores(array: Array) -> bool:
    """Do rows of two and more shares add up to 1, as a soft-max leaves them."""
    rows = in_rows(array)
    if rows.ndim != 2 or rows.shape[1] < 2 or not np.issubdtype(rows.dtype, np.floating):
        return False
    return bool((rows >= -1e-6).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-2))


def _same(found: Array, wanted: Array) -> Numbers:
    """Of each sample, the share of its answer that is float's: whole numbers and text exactly, others within a hundredth
    of their range. As much of one as of the other, or none of it is.
    """
    return np.array([_alike(np.asarray(o), np.asarray(w)) for o, w in zip(found, wanted, strict=True)])


def _alike(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return 0.0
    if not other.size:
        return 1.0
    if is_text(other) or other.dtype.kind != "f":
        return float((one == other).mean())
    room = 1e-2 * float(np.ptp(other))
    return float(np.isclose(one, other, rtol=1e-5, atol=room).mean())


class _Against:
    """The values of float, with the ranges of their channels, which are found once."""

    def __init__(self, wanted: Array) -> None:
        self._wanted = wanted
        self._channels: list[Channels] = []

    def error(self, found: Array) -> Sums:
        """The relative error of the worst channel."""
        self._channels = self._channels or channels(self._wanted)
        off = squares(found, self._wanted)
        parts = [part for one in self._channels for part in one.parts(off)]
        scale = np.concatenate([scale for _, scale in parts])
        table = np.concatenate([rows for rows, _ in parts], axis=1)
        return Sums(np.column_stack([table, np.ones(len(table))]), lambda sums: _worst(sums, scale))


def squares(found: Array, wanted: Array) -> Array:
    """Squared differences; none where both are the same infinity, as in what a mask rules out."""
    one, other = numbers(found), numbers(wanted)
    with np.errstate(invalid="ignore"):
        made: Array = np.where(one == other, 0.0, (one - other) ** 2)
    return np.where(np.isfinite(made), made, _BEYOND)


def _worst(sums: Numbers, scale: Numbers) -> Numbers:
    made: Numbers = (np.sqrt(sums[:, :-1] / sums[:, -1:]) / scale).max(axis=1)
    return made


def relative_error(found: Array, wanted: Array) -> float:
    """Of the worst channel, as a share of its own variation in `wanted`; infinite for another shape."""
    if found.shape != wanted.shape:
        return float("inf")
    return value(_Against(wanted).error(found)) if wanted.size else 0.0


def worst_channel(found: Array, wanted: Array) -> tuple[str, float]:
    """The channel that decides, as `axis 2, channel 5`, and its relative error, per cent."""
    off = squares(found, wanted)
    errors = {
        (one.axis, k): float(error)
        for one in channels(wanted)
        for rows, scale in [next(one.parts(off))]
        for k, error in enumerate(np.sqrt(rows.mean(axis=0)) / scale)
    }
    (axis, channel), error = max(errors.items(), key=lambda item: item[1])
    return (f"axis {axis}, channel {channel}" if axis else "the only channel"), round(100 * error, 4)


def by_sample(found: Array, wanted: Array) -> Numbers:
    """Mean square of each sample's difference, each channel of the last axis as a share of its variation: float64[n]."""
    rows, scale = next(channels(wanted)[-1].parts(squares(found, wanted)))
    made: Numbers = (rows / scale**2).mean(axis=1)
    return made
