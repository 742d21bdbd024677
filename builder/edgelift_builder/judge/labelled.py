"""Labels as people write them, and as metrics take them: class numbers whole, however they were stored; no NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, is_text
from edgelift_builder.judge.case import Case
from edgelift_contract.errors import ContractError

#: A place with this label is not judged, in pictures (the convention of segmentation data sets).
VOID = 255


def tidy(labels: Any) -> Any:
    """Labels with yes and no as 1 and 0, and a last axis of length 1 gone where there are others than the samples'."""
    if isinstance(labels, Mapping):
        return {name: tidy(array) for name, array in labels.items()}
    array = np.asarray(labels)
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def column(labels: Array) -> Array:
    """One label per sample, whether they stand in a row or a column."""
    return labels.reshape(len(labels))


def whole(labels: Array) -> Array | None:
    """Class numbers as int64, also those that came as floats (tables store them so); None where they aren't whole."""
    if is_text(labels) or ragged.is_ragged(labels):
        return None
    if labels.dtype.kind in "iub":
        return labels.astype(np.int64)
    return (
        labels.astype(np.int64) if labels.dtype.kind == "f" and bool((labels == np.round(labels)).all()) else None
    )


def are_yes_or_no(labels: Array) -> bool:
    """Are they of two kinds as usually written, 0 and 1 or -1 and 1."""
    if is_text(labels) or ragged.is_ragged(labels):
        return False
    return bool(np.isin(labels, (0, 1)).all() or np.isin(labels, (-1, 1)).all())


def marked_axis(labels: Array) -> int | None:
    """The axis along which one class of each place is marked by 1 among 0: 1 or the last; None where there is none."""
    if is_text(labels) or labels.ndim < 2 or not np.isin(labels, (0, 1)).all():
        return None
    for axis in (1, labels.ndim - 1):
        if labels.shape[axis] > 1 and bool((labels.sum(axis=axis) == 1).all()):
            return axis
    return None


def check(case: Case) -> None:
    """Refuse labels, and answers of the float model, with which no comparison says anything.

    Raises:
        ContractError: `source-invalid`, naming the first such sample.
    """
    labels = case.labels if isinstance(case.labels, Mapping) else {"": case.labels}
    for name, column_ in labels.items():
        bad = _not_numbers(column_)
        if len(bad):
            of = f" of {name}" if name else ""
            raise ContractError(
                "source-invalid",
                f"Evaluation label {bad[0]}{of}{_more(bad)} is NaN or infinite.",
                hint="Leave out samples whose label is not known; class numbers below 0 are passed over.",
            )
    for name, array in case.reference.items():
        bad = np.flatnonzero([_has_nan(sample) for sample in array])
        if len(bad):
            raise ContractError(
                "source-invalid",
                f"The float model's own answer to evaluation sample {bad[0]}{_more(bad)} holds NaN, in {name}.",
                hint="Mend the model or leave the sample out: with NaN nothing can be compared.",
            )


def _not_numbers(labels: Any) -> Array:
    if labels is None:
        return np.empty(0)
    array = labels if ragged.is_ragged(np.asarray(labels)) else np.asarray(labels)
    return np.flatnonzero([not _is_finite(sample) for sample in array])


def _is_finite(sample: Any) -> bool:
    array = np.asarray(sample)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _has_nan(sample: Any) -> bool:
    array = np.asarray(sample)
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _more(bad: Array) -> str:
    return f" and {len(bad) - 1} more" if len(bad) > 1 else ""
