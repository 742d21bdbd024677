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
    answers = model.answers if isinstance(model, FileModel) else []
    axes = {port.name: sample_axis(port, answers) for port in ports}
    shapes = {p.name: [n for k, n in enumerate(p.shape) if k != axes[p.name]] for p in ports}
    _check_known(ports, shapes, name)
    vocabulary = model.vocabulary if isinstance(model, FileModel) else {}
    fixed = {name: [n or 1 for n in shape] for name, shape in shapes.items()}
    each = sum(int(np.prod(fixed[p.name])) * np.dtype(p.dtype).itemsize for p in ports)
    count = max(LEAST_SAMPLES, min(SAMPLES, MOST_BYTES // max(1, each)))
    rng, drawn = np.random.default_rng(0), count + CALIBRATION_SAMPLES
    made = {p.name: _draw(rng, p, [drawn, *fixed[p.name]], vocabulary.get(p.name, 2)) for p in ports}
    evaluation = _placed(data.sample(made, 0, count), axes)
    calibration = _placed(data.sample(made, count, drawn), axes)
    remark = (
        f"There are no evaluation data: {count} seeded random inputs stand in, and the metric is agreement with the "
        "model as it came. That says little about real data; give some with --data."
    )
    return Data(evaluation, None, calibration), [remark]


def _check_known(ports: list[Port], shapes: dict[str, list[int | None]], name: str) -> None:
    """Refuse inputs that nothing can be drawn for."""
    wrong = "" if ports else f"{name} does not say what shape its inputs have."
    for port in ports:
        if None in shapes[port.name]:
            shape = [n if n is not None else "?" for n in port.shape]
            wrong = f"The input {port.name} of {name} has a shape that is not fixed: {shape}."
        elif port.dtype == "str":
            wrong = f"The input {port.name} of {name} takes text, for which no random inputs can stand in."
        if wrong:
            break
    if wrong:
        raise ContractError(
            "source-invalid", wrong, hint="Give evaluation inputs with --data FILE.npz or --data FILE.py:FUNCTION."
        )


def sample_axis(port: Port, answers: list[Port]) -> int | None:
    """The axis of a call that counts samples, as shapes alone show it.

    The first one where it is free, 1, or the first length of every answer too, which is a batch of a fixed size. Else the
    first axis that is free or 1, as in a recurrent model's state `[layers, 1, size]`; none where there is no such axis.
    """
    ours, theirs = port.shape[:1], {answer.shape[:1] for answer in answers}
    if len(port.shape) > 1 and theirs == {ours}:
        return 0
    return next((axis for axis, length in enumerate(port.shape) if length in (None, 1)), None)


def _placed(columns: data.DataSet, axes: dict[str, int | None]) -> data.DataSet:
    """Samples on the axis that the model has for them."""
    return {name: np.moveaxis(column, 0, axes[name] or 0) for name, column in columns.items()}


def _draw(rng: np.random.Generator, port: Port, shape: list[int], below: int) -> data.Array:
    if np.issubdtype(np.dtype(port.dtype), np.floating):
        return rng.standard_normal(shape).astype(port.dtype)
    if port.dtype in ("int8", "uint8"):
        limits = np.iinfo(port.dtype)
        return rng.integers(limits.min, limits.max, shape, port.dtype, endpoint=True)
    return rng.integers(0, below, shape).astype(port.dtype)
