"""Which axis of each input counts the samples: told by where example and evaluation differ.

An example is one call, the evaluation inputs are many samples, so an input's lengths differ on its sample axis alone: axis
0 as a rule, another one for a recurrent model's state `[layers, sample, size]`, none for a number that holds for all. Where
the evaluation inputs have one axis more than a call, each sample is a whole call, and no axis of it counts samples.
Of a model file the ports stand in for the example; an axis that the file leaves free may have any length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, plain
from edgelift_contract.errors import ContractError

#: Lengths of an example's axes; None where any will do.
Shape: TypeAlias = tuple[int | None, ...]

#: An array of all samples, or a list with one array per sample.
Given: TypeAlias = Array | list[Array]


def arrays(values: Mapping[str, Any]) -> dict[str, Given]:
    """What a person gave for each input: tensors and nested lists as arrays; a list of arrays or tensors stays a list."""
    return {name: _array(value) for name, value in values.items()}


def _array(value: Any) -> Given:
    if not (hasattr(value, "__array__") or isinstance(value, list | tuple | float | int | str | bytes)):
        raise ContractError(
            "source-invalid",
            f"Samples came as {type(value).__name__}, not as arrays.",
            hint="Put what it holds into arrays first, as numpy.stack does.",
        )
    if isinstance(value, list | tuple) and value and all(hasattr(item, "shape") for item in value):
        return [_plain(item) for item in value]
    return _plain(value)


def _plain(value: Any) -> Array:
    if not hasattr(value, "detach"):
        return _native(plain(value), given=hasattr(value, "dtype"))
    tensor = value.detach().cpu()
    return plain(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)  # numpy has no bfloat16


def _native(array: Array, *, given: bool) -> Array:
    """In this machine's byte order; Python's own numbers, which have no width that was `given`, in float32."""
    if array.dtype.kind == "O":
        raise ContractError(
            "source-invalid",
            "Samples came as an array of Python objects.",
            hint="Give numbers of one type; samples of different shapes as a list of arrays.",
        )
    if array.dtype == np.float64 and not given:
        return array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def find(example: Mapping[str, Shape], given: Mapping[str, Given]) -> dict[str, int | None]:
    """The sample axis of each input in a call; None where it has none.

    Args:
        example: lengths of one call's axes.
        given: arrays of many samples, for the same names.
    """
    differing = {name: _differing(shape, given[name]) for name, shape in example.items()}
    counts = {_counts(example[name], given[name], 0) for name, axes in differing.items() if axes[:1] == [0]}
    found: dict[str, int | None] = {}
    for name, axes in differing.items():
        value, shape = given[name], example[name]
        if is_one_each(shape, value):
            found[name] = None
        elif isinstance(value, list) or axes[:1] == [0] or not (shape and value.ndim):
            found[name] = 0 if isinstance(value, list) or axes else None
        elif not axes:  # as long as the example: as many samples as that, or the same for all of them
            found[name] = None if counts and len(value) not in {n for _, n in counts} else 0
        else:
            fits = _counts(shape, value, axes[0]) in counts or (not counts and shape[axes[0]] in (1, None))
            found[name] = axes[0] if len(axes) == 1 and fits else 0
    return found


def is_one_each(shape: Shape, value: Given) -> bool:
    """Does `value` hold a call's array for each sample, of an input without a sample axis: `[n, 8]` for `[8]`."""
    if isinstance(value, list):
        return bool(shape) and all(item.ndim == len(shape) and item.shape[0] != 1 for item in value)
    one = value.ndim == len(shape) + 1 and not _called(shape, value)
    return one and all(n in (None, m) for n, m in zip(shape, value.shape[1:], strict=True))


def _called(shape: Shape, value: Array) -> bool:
    """Is each sample a call with a first axis of length 1."""
    return bool(shape) and value.ndim == len(shape) + 1 and value.shape[1] == 1 and shape[0] in (None, 1)


def _differing(shape: Shape, value: Given) -> list[int]:
    if isinstance(value, list) or value.ndim != len(shape):
        return [0] if shape else []
    return [k for k, length in enumerate(shape) if length is None or length != value.shape[k]]


def _counts(shape: Shape, value: Given, axis: int) -> tuple[int | None, int]:
    """Samples of the example and of what was given, were they on `axis`."""
    if isinstance(value, list):
        return 1, len(value)
    return (shape[axis] if shape else None), value.shape[axis] if value.ndim else 0


def columns(
    given: Mapping[str, Given], axes: Mapping[str, int | None], example: Mapping[str, Shape], what: str
) -> DataSet:
    """A data set: the sample on axis 0 of every column, what has no sample axis, and is the same for all, once for each.

    Raises:
        ContractError: `source-invalid` when inputs differ in their number of samples.
    """
    apart = {n for n, axis in axes.items() if axis is not None or is_one_each(example[n], given[n])}
    made = {n: _column(value, axes[n], example[n]) for n, value in given.items() if n in apart}
    lengths = {name: len(column) for name, column in made.items()}
    if len(set(lengths.values())) > 1:
        raise ContractError("source-invalid", f"The {what} differ in their number of samples: {lengths}.")
    count = next(iter(lengths.values()), 1)
    for name, value in given.items():
        if name not in apart:
            array = np.asarray(value)
            made[name] = np.broadcast_to(array, (count, *array.shape))
    return {name: made[name] for name in given}


def _column(value: Given, axis: int | None, shape: Shape) -> Array:
    if axis is None:
        return ragged.stack(value) if isinstance(value, list) else value
    if not isinstance(value, list):
        if _called(shape, value):
            return value[:, 0]
        return np.moveaxis(value, axis or 0, 0) if value.ndim else value.reshape(1)
    # Samples of a list come as they are, or as calls with a first axis of length 1.
    are_calls = all(item.ndim == len(shape) and item.shape[:1] == (1,) for item in value)
    return ragged.stack([item[0] for item in value] if are_calls else value)
