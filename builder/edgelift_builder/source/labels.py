"""What is right for each sample: `labels`; of objects in pictures `boxes` and `labels`; of several outputs by name."""

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
    if isinstance(given, Mapping):
        made = {str(name): _plain(column, f"of {name} ") for name, column in given.items()}
    else:
        made = _objects(given) if _are_objects(given) else {"labels": _plain(given)}
    counts = {len(column) for column in made.values()} or {0}
    count = max(counts)
    if len(counts) > 1 or count != data.length(evaluation):
        listed = " and ".join(map(str, sorted(counts)))
        raise ContractError(
            "source-invalid",
            f"There are {listed} evaluation labels for {data.length(evaluation)} evaluation inputs.",
            hint="Give one label for each evaluation input, in the same order: both come from one split of the data.",
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


def _plain(given: Any, of: str = "") -> data.Array:
    if isinstance(given, list | tuple) and given and all(hasattr(one, "shape") for one in given):
        return ragged.stack([_array(one, of) for one in given])
    try:
        array = _array(given, of)
    except ValueError:  # lists of several lengths
        return ragged.of([_array(one, of) for one in given])
    if array.ndim == 0:
        raise _no_labels(given, of)
    return array


def _array(given: Any, of: str) -> data.Array:
    array = data.plain(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.dtype.kind == "O":
        raise _no_labels(given, of)
    return array


def _no_labels(given: Any, of: str) -> ContractError:
    return ContractError(
        "source-invalid",
        f"The evaluation labels {of}are {type(given).__name__}, which is no array of one type.",
        hint="Give an array with a label for each sample; of several outputs a dict of these by output, as {'output_0': y}.",
    )
