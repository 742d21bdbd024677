"""Inputs drawn for a model file that comes without data: seeded, and artifacts are held to what the model says to them.

That finds a broken conversion, and says little of accuracy on real data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelift_builder import data
from edgelift_builder.source.file_model import FileModel, Port
from edgelift_builder.source.given import Data
from edgelift_contract.errors import ContractError

#: Enough that agreement on all of them holds a budget of 0.5 points (Tango's interval of 0 in 1,000: 0.38 points).
SAMPLES, LEAST_SAMPLES = 1000, 64
CALIBRATION_SAMPLES = 100

#: Drawn inputs are cut down to this, bytes.
MOST_BYTES = 128 << 20

#: What writers call the axis of samples, in lower case.
_SAMPLES_CALLED = {"n", "b", "bs", "batch", "batch_size", "batchsize", "samples", "num_samples"}

_GIVE_DATA = "Give evaluation inputs with --data FILE.npz or --data FILE.py:FUNCTION."


def draw(model: object, ports: list[Port], name: str) -> tuple[Data, list[str]]:
    """Seeded random inputs for a model's ports, and what a person should know of them.

    Floats are drawn from the standard normal distribution; indices evenly from the table they point into, where
    the graph shows one; 8 and 16 bits evenly from all values, for they are pixels and sound; other integers are 0 or 1.

    Raises:
        ContractError: `source-invalid` when the file does not say what shape an input has, or an input is text.
    """
    if not ports:
        raise ContractError("source-invalid", f"{name} does not say what shape its inputs have.", hint=_GIVE_DATA)
    axes = {port.name: sample_axis(port, ports, getattr(model, "answers", ())) for port in ports}
    for port in ports:
        _check_drawable(port, axes[port.name], name)
    vocabulary = model.vocabulary if isinstance(model, FileModel) else {}
    each = sum(int(np.prod([n or 1 for n in p.shape])) * np.dtype(p.dtype).itemsize for p in ports)
    count = max(LEAST_SAMPLES, min(SAMPLES, MOST_BYTES // max(1, each)))
    rng = np.random.default_rng(0)

    def inputs(many: int) -> data.DataSet:
        return {p.name: _draw(rng, p, axes[p.name], many, vocabulary.get(p.name, 2)) for p in ports}

    remark = (
        f"There are no evaluation data: {count} seeded random inputs stand in, and artifacts are held to what the "
        "model as it came says to them. That says little about real data; give some with --data."
    )
    return Data(inputs(count), None, inputs(CALIBRATION_SAMPLES)), [remark]


def sample_axis(port: Port, ports: Sequence[Port], answers: Sequence[Port]) -> int | None:
    """Which axis of an input counts samples, by what the file says alone; None where none does.

    The first one where it is free or 1. A first axis of a fixed length is a batch where every input and output has it; else
    the samples lie on a later one that is 1, or free and called as samples are, as in a recurrent model's state
    `[2, N, 16]`. Where there is no such axis, a sample is the whole call.
    """
    shape = port.shape
    firsts = [p for p in (*ports, *answers) if p.shape]
    if not shape:
        return None
    if shape[0] is None:
        return 0
    others_free = any(p.shape[0] is None for p in ports if p.shape and p is not port)
    words = {p.symbols[0] for p in firsts if p.symbols and p.shape[0] is None} | {""}
    free = [k for k, n in enumerate(shape) if n is None]
    # One without a word may count samples where the first cannot: beside a first axis of 1 it is a length.
    known = words if shape[0] != 1 else words - {""}
    named = [k for k in free if _word(port, k) in known or _word(port, k).lower() in _SAMPLES_CALLED]
    if named:
        return named[0]
    if shape[0] == 1:
        return None if others_free else 0
    if len(shape) > 1 and all(p.shape[0] == shape[0] for p in firsts):
        return 0
    return shape.index(1) if 1 in shape else None


def _word(port: Port, axis: int) -> str:
    return port.symbols[axis] if port.symbols else ""


def _check_drawable(port: Port, axis: int | None, name: str) -> None:
    if any(n is None for k, n in enumerate(port.shape) if k != axis):
        raise ContractError(
            "source-invalid",
            f"The input {port.name} of {name} has a shape that is not fixed: {port}.",
            hint=_GIVE_DATA,
        )
    if port.dtype == "str":
        raise ContractError(
            "source-invalid",
            f"The input {port.name} of {name} takes text, for which no random inputs can stand in.",
            hint=_GIVE_DATA,
        )


def _draw(rng: np.random.Generator, port: Port, axis: int | None, count: int, below: int) -> data.Array:
    """As a person would give it: the samples on their axis; on a first one where a sample is a whole call of several
    numbers; once for all where it is one number, or has a first axis of 1.
    """
    shape = tuple(n or 1 for n in port.shape)
    if axis is not None:
        shape = (*shape[:axis], count, *shape[axis + 1 :])
    elif shape and shape[0] != 1:
        shape = (count, *shape)
    kind = np.dtype(port.dtype)
    if np.issubdtype(kind, np.floating):
        return np.asarray(rng.standard_normal(shape)).astype(kind)
    if kind.itemsize <= 2 and kind.kind in "iu":
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
        return rng.integers(least, most, shape, dtype=kind, endpoint=True)
    return np.asarray(rng.integers(0, below, shape)).astype(kind)
