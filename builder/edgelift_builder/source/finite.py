"""Samples without NaN, with which every comparison says nothing; infinity may be meant, as in a mask."""

from __future__ import annotations

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_contract.errors import ContractError


def check_numbers(samples: DataSet, what: str, first: int = 0) -> None:
    """Refuse NaN.

    Args:
        samples: a data set.
        what: for the error, as `Calibration sample`.
        first: number of its first sample.

    Raises:
        ContractError: `source-invalid`, naming the input and the first such sample.
    """
    for name, column in samples.items():
        bad = np.flatnonzero(
            [not _is_number(sample) for sample in column] if ragged.is_ragged(column) else ~_each(column)
        )
        if len(bad):
            others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            raise ContractError(
                "source-invalid",
                f"{what} {first + int(bad[0])}{others} of the input {name} holds NaN.",
                hint="Leave it out, or mend the data.",
            )


def _each(column: Array) -> Array:
    if not np.issubdtype(column.dtype, np.inexact):
        return np.ones(len(column), dtype=bool)
    return np.array([not np.isnan(sample).any() for sample in column])


def _is_number(sample: Array) -> bool:
    return not np.issubdtype(sample.dtype, np.inexact) or not np.isnan(sample).any()
