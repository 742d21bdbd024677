"""Evaluation data for models that come as files: a function, an `.npz`, or seeded random inputs.

    --data data.py:evaluation      a function that returns an edgelift_builder.Data (or a Source; its model is left)
    --data data.npz                arrays by input name, `labels`, and `calibration:<input>` if there are any

With neither, random inputs stand in and the metric is how often the artifact agrees with the file's own model:
that finds a broken conversion, and says little of accuracy on real data.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from edgelift_builder import data
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.given import Data
from edgelift_contract.errors import ContractError

#: Enough that agreement on all of them holds a budget of 0.5 points (Tango's interval of 0 in 1,000: 0.38 points).
SAMPLES, LEAST_SAMPLES = 1000, 64
CALIBRATION_SAMPLES = 100

#: Random inputs are cut down to this, bytes.
MOST_BYTES = 128 << 20

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
        raise ContractError("source-invalid", f"{path.name} is not an .npz file: {error}.") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise ContractError("source-invalid", f"{path.name} is not an .npz file.") from error
    labels = arrays.pop("labels", None)
    calibration = {k.removeprefix(_CALIBRATION): arrays.pop(k) for k in list(arrays) if k.startswith(_CALIBRATION)}
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


def random_data(model: object, ports: list[Port], name: str) -> tuple[Data, list[str]]:
    """Seeded random inputs for a model's ports, and what a person should know of them.

    Floats are drawn from the standard normal distribution; indices evenly from the table they point into, where
    the graph shows one; bytes evenly from all, for they are pixels; other integers are 0 or 1.

    Raises:
        ContractError: `source-invalid` when the file does not say what shape an input has.
    """
    if not ports:
        raise ContractError(
            "source-invalid",
            f"{name} does not say what shape its inputs have.",
            hint="Give evaluation inputs with --data FILE.npz or --data FILE.py:FUNCTION.",
        )
    for port in ports:
        if any(n is None for n in port.shape[1:]):
            shape = [n if n is not None else "?" for n in port.shape]
            raise ContractError(
                "source-invalid",
                f"The input {port.name} of {name} has a shape that is not fixed: {shape}.",
                hint="Give evaluation inputs with --data FILE.npz or --data FILE.py:FUNCTION.",
            )
        if port.dtype == "str":
            raise ContractError(
                "source-invalid",
                f"The input {port.name} of {name} takes text, for which no random inputs can stand in.",
                hint="Give evaluation inputs with --data FILE.npz or --data FILE.py:FUNCTION.",
            )
    vocabulary = model.vocabulary if isinstance(model, FileModel) else {}
    each = sum(int(np.prod([n or 1 for n in p.shape[1:]])) * np.dtype(p.dtype).itemsize for p in ports)
    count = max(LEAST_SAMPLES, min(SAMPLES, MOST_BYTES // max(1, each)))
    rng = np.random.default_rng(0)
    made = {p.name: _draw(rng, p, count + CALIBRATION_SAMPLES, vocabulary.get(p.name, 2)) for p in ports}
    evaluation = data.sample(made, 0, count)
    remark = (
        f"There are no evaluation data: {count} seeded random inputs stand in, and the metric is agreement with the "
        "model as it came. That says little about real data; give some with --data."
    )
    return Data(evaluation, None, data.sample(made, count, count + CALIBRATION_SAMPLES)), [remark]


def _draw(rng: np.random.Generator, port: Port, count: int, below: int) -> data.Array:
    shape = (count, *(n or 1 for n in port.shape[1:]))
    if np.issubdtype(np.dtype(port.dtype), np.floating):
        return rng.standard_normal(shape).astype(port.dtype)
    if port.dtype == "uint8":
        below = 256
    return rng.integers(0, below, shape).astype(port.dtype)
