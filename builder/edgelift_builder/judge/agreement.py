"""How near an artifact's values come to the float model's, where nobody said what is right.

Every output is judged, and in it every channel by its own range: the difference's root mean square ÷ the standard
deviation of float's own values there, the *relative error*; its square is the noise-to-signal ratio. A channel that says
nothing any more (a detector's scores beside boxes in pixels, crushed by one scale for both) has a relative error of 1 and
more, however small its numbers. The worst channel decides. What is whole numbers or text has to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, is_text
from edgelift_builder.judge.case import Case, Metric, numbers
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample, Sums

#: Most that the worst channel may be off, per cent of its own variation: a cosine of 0.995 to float's.
LIMIT = 10.0

#: With which a channel says nothing any more of what it said: a cosine of 0.87.
BLIND = 50.0

#: Shares of 1 vary by at least this much for the purpose: a class that never occurs among the samples varies by nothing.
_LEAST_SHARE = 0.02

#: A channel that is constant in float is held to its value: an error of `LIMIT` is then this share of it as large.
_CONSTANT_SHARE = 0.1

#: Square of a difference that is none: NaN, or an infinity that float has not.
_BEYOND = 1e30

#: Axes that are longer are places, not channels.
_MOST_CHANNELS = 4096

VALUES = Measure("relative error", better="lower", unit="percent", least=1.0, usual=LIMIT)
SAME = Measure("agreement")


def agreement(case: Case) -> list[Metric]:
    """A metric for each output, in their order."""
    return [of(name, array) for name, array in case.reference.items()]


def of(name: str, float_values: Array, limit: float = LIMIT) -> Metric:
    """The output `name` against float's values of it; `limit`: what its worst channel may be off, per cent."""
    if ragged.is_ragged(float_values) or not _are_quantities(float_values):
        return Metric(
            SAME, lambda out: PerSample(_same(out[name], float_values)), f"{name}, the same as float's", None,
            looks_at=(name,),
        )  # fmt: skip
    return Metric(
        replace(VALUES, usual=limit), lambda out: _error(out[name], float_values),
        f"{name}, the worst channel against float's", looks_at=(name,),
    )  # fmt: skip


#: A picture of whole numbers has more values than classes would have.
_LEVELS = 64


def _are_quantities(array: Array) -> bool:
    """Numbers of which near ones are alike: floats, and the bytes of a picture."""
    if array.dtype.kind == "f":
        return True
    return array.dtype == np.uint8 and array.ndim >= 3 and len(np.unique(array)) > _LEVELS


def chosen(name: str, case: Case) -> Metric:
    """For class scores, beside their values: how often the largest is that of the same class."""
    wanted = case.reference[name].argmax(-1)
    return Metric(
        SAME,
        lambda out: PerSample((out[name].argmax(-1) == wanted).astype(np.float64)),
        f"{name}, the largest the same as float's",
        looks_at=(name,),
    )


def are_class_scores(array: Array) -> bool:
    """Do rows of two and more shares add up to 1, as a soft-max leaves them."""
    if array.ndim != 2 or array.shape[1] < 2 or not np.issubdtype(array.dtype, np.floating):
        return False
    return bool((array >= -1e-6).all() and np.allclose(array.sum(axis=1), 1, atol=1e-2))


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


def _error(found: Array, wanted: Array) -> Sums:
    difference = _squares(found, wanted)
    parts, scales = [], []
    for axis in _channel_axes(wanted):
        others = tuple(k for k in range(wanted.ndim) if k not in (0, axis))
        parts.append(difference.mean(axis=others) if others else difference)
        scales.append(_scale(wanted, axis))
    scale = np.concatenate(scales)
    table = np.concatenate([_columns(part) for part in parts], axis=1)
    return Sums(np.column_stack([table, np.ones(len(table))]), lambda sums: _worst(sums, scale))


def _squares(found: Array, wanted: Array) -> Array:
    """Squared differences; none where both are the same infinity, as in what a mask rules out."""
    one, other = numbers(found), numbers(wanted)
    with np.errstate(invalid="ignore"):
        made: Array = np.where(one == other, 0.0, (one - other) ** 2)
    return np.where(np.isfinite(made), made, _BEYOND)


def _worst(sums: Numbers, scale: Numbers) -> Numbers:
    made: Numbers = (np.sqrt(sums[:, :-1] / sums[:, -1:]) / scale).max(axis=1)
    return made


def relative_error(found: Array, wanted: Array) -> float:
    """Of the worst channel, as a share of its own variation in `wanted`; infinite for NaN or another shape."""
    if found.shape != wanted.shape:
        return float("inf")
    worst = max(float(_errors(numbers(found), numbers(wanted), axis).max()) for axis in _channel_axes(wanted))
    return worst if np.isfinite(worst) else float("inf")


def worst_channel(found: Array, wanted: Array) -> tuple[str, float]:
    """The channel that decides, as `axis 2, channel 5`, and its relative error, per cent."""
    errors = {
        (axis, k): float(e) for axis in _channel_axes(wanted) for k, e in enumerate(_errors(found, wanted, axis))
    }
    (axis, channel), error = max(errors.items(), key=lambda item: item[1])
    return (f"axis {axis}, channel {channel}" if axis else "the only channel"), round(100 * error, 4)


def by_sample(found: Array, wanted: Array) -> Numbers:
    """Mean square of each sample's difference, each channel of the last axis as a share of its variation: float64[n]."""
    axis = wanted.ndim - 1
    shares = ((numbers(found) - numbers(wanted)) / _scale(wanted, axis)) ** 2
    made: Numbers = shares.reshape(len(shares), -1).mean(axis=1)
    return np.where(np.isnan(made), np.inf, made)


def _errors(found: Array, wanted: Array, axis: int) -> Numbers:
    others = tuple(k for k in range(wanted.ndim) if k != axis)
    made: Numbers = np.sqrt(_squares(found, wanted).mean(axis=others)) / _scale(wanted, axis)
    return made


def _columns(part: Array) -> Array:
    return part.reshape(len(part), -1)


def _channel_axes(array: Array) -> Iterator[int]:
    """Axis 1 and the last one; 0, the samples', for one number per sample."""
    if array.ndim == 1:
        yield 0
        return
    for axis in dict.fromkeys((1, array.ndim - 1)):
        if array.shape[axis] <= _MOST_CHANNELS or axis == array.ndim - 1:
            yield axis


def _scale(wanted: Array, axis: int) -> Numbers:
    others = tuple(k for k in range(wanted.ndim) if k != axis) if axis else tuple(range(wanted.ndim))
    values, finite = numbers(wanted), np.isfinite(wanted)
    clean = np.where(finite, values, 0.0)
    count = np.maximum(finite.sum(axis=others), 1)
    mean = np.expand_dims(clean.sum(axis=others) / count, others)
    squares = np.where(finite, (clean - mean) ** 2, 0.0).sum(axis=others) / count
    spread, size = np.sqrt(np.atleast_1d(squares)), np.atleast_1d(np.abs(clean).max(axis=others))
    if bool(((values >= 0) & (values <= 1)).all()):
        spread = np.maximum(spread, _LEAST_SHARE)
    constant = spread <= 1e-6 * size
    made: Numbers = np.where(constant, np.maximum(_CONSTANT_SHARE * size, 1e-12), spread)
    return made
