"""Evaluation data for models that come as files: a function, an `.npz`, or drawn inputs, see `drawn`.

--data data.py:evaluation      a function that returns an edgelift_builder.Data (or a Source; its model is left)
--data data.npz                arrays by input name, `labels`, and `calibration:<input>` if there are any
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgelift_builder import data
from edgelift_builder.exceptions import in_short
from edgelift_builder.source.given import Data
from edgelift_contract.errors import ContractError

_CALIBRATION = "calibration:"


def read_npz(path: Path, names: list[str]) -> Data:
    """The data in an `.npz`; pickled arrays are refused by numpy.

    Raises:
        ContractError: `source-missing`, `source-invalid` or `unsafe-file`.
    """
    if not path.is_file():
        raise ContractError("source-missing", f"There is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise ContractError(
                "unsafe-file",
                f"{path.name} was not opened: it holds pickled objects, and opening it could run code.",
                hint="Save plain arrays with numpy.savez.",
            ) from error
        raise ContractError(
            "source-invalid", f"{path.name} is not an .npz file: {in_short(str(error))}."
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ContractError("source-invalid", f"{path.name} is not an .npz file.") from error
    # An input of that name comes first: then labels come by a function.
    labels = arrays.pop("labels", None) if "labels" not in names else None
    calibration = {k.removeprefix(_CALIBRATION): arrays.pop(k) for k in list(arrays) if k.startswith(_CALIBRATION)}
    if labels is None and "labels" not in names:
        _check_no_labels(arrays, names, path)
    return Data(
        _by_input(arrays, names, path), labels, _by_input(calibration, names, path) if calibration else None
    )


def _by_input(arrays: data.DataSet, names: list[str], path: Path) -> data.DataSet:
    if len(arrays) == 1 and len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    missing = [name for name in names if name not in arrays]
    if missing or not arrays:
        held = ", ".join(arrays) or "nothing but labels"
        raise ContractError(
            "source-invalid",
            f"{path.name} has no array for the input {', '.join(missing) or 'of the model'}: it holds {held}.",
            hint="Name the arrays after the model's inputs, and the labels `labels`.",
        )
    return {name: arrays[name] for name in names} if names else arrays


def _check_no_labels(arrays: data.DataSet, names: list[str], path: Path) -> None:
    """Refuse to leave aside, without a word, what was meant to say what is right."""
    further = [name for name in arrays if name not in names]
    if names and further and len(arrays) > len(names):
        raise ContractError(
            "source-invalid",
            f"{path.name} holds {', '.join(further)}, which is no input of the model, and no `labels`.",
            hint="If it says what is right for each sample, name it `labels`; else leave it out.",
        )
