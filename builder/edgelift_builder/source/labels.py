"""What is right for each sample, as a data set: `labels`, or for pictures with objects `boxes` and `labels` of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelift_builder import data, ragged
from edgelift_builder.source.given import Source
from edgelift_contract.errors import ContractError


def labels_of(source: Source, evaluation: data.DataSet) -> data.DataSet:
    """The source's labels; empty where it has none.

    Raises:
        ContractError: `source-invalid` when there are not as many as samples, or they are no arrays.
    """
    given = source.evaluation_labels
    if given is None:
        return {}
    made = _objects(given) if _are_objects(given) else {"labels": _plain(given)}
    count = data.length(made)
    if count != data.length(evaluation):
        raise ContractError(
            "source-invalid",
            f"There are {count} evaluation labels for {data.length(evaluation)} evaluation inputs.",
        )
    return made


def _are_objects(given: Any) -> bool:
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], Mapping)


def _objects(given: Any) -> data.DataSet:
    for number, picture in enumerate(given):
        if not isinstance(picture, Mapping) or not {"boxes", "labels"} <= set(picture):
            raise ContractError(
                "source-invalid",
                f"Evaluation label {number} has no boxes and labels.",
                hint='Give {"boxes": float[k, 4] as x1, y1, x2, y2, "labels": int[k]} for each picture.',
            )
    return {
        "boxes": ragged.of([np.asarray(_plain(p["boxes"]), dtype=np.float64).reshape(-1, 4) for p in given]),
        "labels": ragged.of([np.asarray(_plain(p["labels"]), dtype=np.int64).reshape(-1) for p in given]),
    }


def _plain(given: Any) -> data.Array:
    array = data.plain(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.dtype.kind == "O" or array.ndim == 0:
        raise ContractError(
            "source-invalid", f"The evaluation labels are {type(given).__name__}, which is no array of one type."
        )
    return array
