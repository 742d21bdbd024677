"""Columns of samples whose shapes differ: sentences of any length, images of any size, boxes that a model chose.

Such a column is an object array, one array per sample: `len`, slices and indexes work as on any other. On disk it is all
elements in one row and a table of shapes, so that nothing is ever pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelift_contract.errors import ContractError

Array = npt.NDArray[Any]


def is_ragged(column: Array) -> bool:
    """Is it one array per sample."""
    return column.dtype.kind == "O"


def stack(parts: Sequence[Array]) -> Array:
    """One column of the arrays of all samples, at least one: an array where they have one shape, else ragged.

    Raises:
        ContractError: `source-invalid` when they differ in element type or in their number of axes.
    """
    kinds = {(part.dtype.kind if part.dtype.kind == "U" else part.dtype.name, part.ndim) for part in parts}
    if len(kinds) > 1:
        listed = ", ".join(sorted(f"{kind} of {axes} {'axis' if axes == 1 else 'axes'}" for kind, axes in kinds))
        raise ContractError(
            "source-invalid",
            f"The samples of one array differ in kind: {listed}.",
            hint='Give all of them one element type and one number of axes, as array.astype("float32") does; '
            "only their lengths may differ.",
        )
    if all(part.shape == parts[0].shape for part in parts):
        return np.stack(parts)
    return of(parts)


def of(parts: Sequence[Array]) -> Array:
    """A ragged column, whatever the shapes."""
    column: Array = np.empty(len(parts), dtype=object)
    for place, part in enumerate(parts):  # at once, numpy would try to make one array of them
        column[place] = part
    return column


def pack(column: Array) -> tuple[Array, Array]:
    """All elements of a ragged column in one row, and its shapes: int64[n, axes]."""
    shapes = np.array([part.shape for part in column], dtype=np.int64).reshape(len(column), -1)
    return np.concatenate([part.ravel() for part in column]), shapes


def unpack(flat: Array, shapes: Array) -> Array:
    """What `pack` took apart."""
    ends = np.cumsum(shapes.prod(axis=1))
    return of([part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)])
