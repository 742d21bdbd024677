"""One sample as a model is given it, and answers it.

A data set has the sample on axis 0 of every column; a call has it where the model wants it, with a length of 1: mostly
on axis 0 too, in a recurrent model's state `[layers, sample, size]` on axis 1, in a number that holds for the whole call
nowhere. `Axes` says where; a name that it does not have is on axis 0. What has no sample axis stands in a data set once
for every sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edgelift_builder import data, ragged
from edgelift_builder.data import Array, DataSet

#: Input or output → the axis of a call that counts samples; None where there is none.
Axes: TypeAlias = Mapping[str, int | None]


def one(samples: Mapping[str, Array], index: int, axes: Axes) -> DataSet:
    """Sample `index` as a call."""
    return {name: _into_call(column[index], axes.get(name, 0)) for name, column in samples.items()}


def each(samples: Mapping[str, Array], axes: Axes) -> Iterator[DataSet]:
    """Every sample as a call, in order."""
    return (one(samples, index, axes) for index in range(data.length(samples)))


def several(samples: Mapping[str, Array], start: int, stop: int, axes: Axes) -> DataSet:
    """Samples `start` to `stop` (not included) as one call. Ragged columns, and what has no sample axis, go one by one."""
    made = {}
    for name, column in samples.items():
        axis = axes.get(name, 0)
        made[name] = _into_call(column[start], None) if axis is None else np.moveaxis(column[start:stop], 0, axis)
    return made


def together(answers: Sequence[Mapping[str, Array]], axes: Axes) -> DataSet:
    """Answers to calls of one sample each, at least one, as a data set.

    Raises:
        ContractError: `source-invalid` when answers differ in kind.
    """
    return {
        name: ragged.stack([_out_of_call(answer[name], axes.get(name, 0)) for answer in answers])
        for name in answers[0]
    }


def _into_call(sample: Array, axis: int | None) -> Array:
    sample = np.asarray(sample)  # of a column with one axis an element comes as a scalar
    shape = sample.shape if axis is None else (*sample.shape[:axis], 1, *sample.shape[axis:])
    return np.ascontiguousarray(sample).reshape(shape)  # which makes one axis of none: hence the shape


def _out_of_call(array: Array, axis: int | None) -> Array:
    return array if axis is None else np.take(array, 0, axis=axis)
