"""Labels as people write them, and as metrics take them: class numbers whole, however they were stored; no NaN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import Case
from edgelift_contract.errors import ContractError

#: A place with this label is not judged, in pictures (the convention of segmentation data sets).
VOID = 255


def tidy(labels: Any) -> Any:
    """Labels with yes and no as 1 and 0, also where a mask came as a picture has it, of 0 and 255 alone."""
    if isinstance(labels, Mapping):
        return {name: tidy(array) for name, array in labels.items()}
    array = np.asarray(labels)
    is_mask = array.ndim >= 3 and array.dtype.kind in "iuf" and bool(np.isin(array, (0, VOID)).all())
    if array.dtype.kind == "b" or (is_mask and array.any() and not array.all()):
        return (array > 0).astype(np.int64)
    return array


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


def check_some(judged: Array) -> None:
    """Refuse labels of which none is to be judged.

    Raises:
        ContractError: `source-invalid`.
    """
    if judged.size and not judged.any():
        raise ContractError(
            "source-invalid",
            f"None of the {judged.size} evaluation labels is to be judged: all say that they don't count.",
            hint="Class numbers begin at 0; below it, and 255 in pictures, is what is passed over.",
        )


def check(case: Case, numbered: Callable[[int], int] = int) -> None:
    """Refuse labels, and answers of the float model, with which no comparison says anything.

    Args:
        case: see `Case`.
        numbered: the place of a sample in the case, from 0, to the number that the source's owner knows it by.

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
                f"Evaluation label {numbered(int(bad[0]))}{of}{_more(bad)} is NaN or infinite.",
                hint="Leave out samples whose label is not known; class numbers below 0 are passed over.",
            )
    for name, array in case.reference.items():
        bad = np.flatnonzero([_has_nan(sample) for sample in array])
        if len(bad):
            raise ContractError(
                "source-invalid",
                f"The float model's own answer to evaluation sample {numbered(int(bad[0]))}{_more(bad)} holds NaN, "
                f"in {name}.",
                hint="Mend the model or leave the sample out: with NaN nothing can be compared.",
            )


def are_all_alike(reference: DataSet) -> bool:
    """Is every answer that of the first sample: then nothing shows whether an artifact tells samples apart."""
    return all(
        len(array) > 1 and not ragged.is_ragged(array) and bool((array == array[:1]).all())
        for array in reference.values()
    )


def gone(outputs: DataSet, reference: DataSet) -> tuple[str, Array]:
    """The first output with answers that hold NaN where the float model's hold none, and which samples; none of either else.

    A metric may take them for right: the largest of NaN is the first class, and NaN is a higher score than any.
    """
    for name, wanted in reference.items():
        found = outputs[name]
        if ragged.is_ragged(found) or _has_nan(found):
            pairs = zip(found, wanted, strict=True)
            bad = np.flatnonzero([_has_nan(one) and not _has_nan(other) for one, other in pairs])
            if len(bad):
                return name, bad
    return "", np.empty(0, np.int64)


def check_artifact(outputs: DataSet, reference: DataSet, numbered: Callable[[int], int] = int) -> None:
    """Refuse an artifact's answers that are `gone`; `numbered`: see `check`.

    Raises:
        ContractError: `accuracy-over-budget`.
    """
    name, bad = gone(outputs, reference)
    if name:
        raise ContractError(
            "accuracy-over-budget",
            f"Its answer to evaluation sample {numbered(int(bad[0]))}{_more(bad)} holds NaN, in {name}; float's does not.",
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
