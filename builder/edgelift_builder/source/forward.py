"""Runs the float model, module or file, on a data set; a failure is told by what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgelift_builder import data
from edgelift_builder.exceptions import summarise
from edgelift_builder.source.file_model import FileModel
from edgelift_builder.source.trail import Trail
from edgelift_contract.errors import ContractError

#: Samples given to the float model at once.
BATCH = 64


def run_all(model: Any, inputs: data.DataSet, size: int = BATCH) -> data.DataSet:
    """The float model's outputs for every sample, `size` at a time."""
    parts = [forward(model, chunk, "evaluation input") for chunk in data.chunks(inputs, size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def forward(model: Any, inputs: data.DataSet, what: str) -> data.DataSet:
    """One call of the model; outputs are named `output_0` … in their order, or as a model file names them.

    Raises:
        ContractError: `shape-mismatch`, naming the layer and what it was given; else `source-raised`.
    """
    if isinstance(model, FileModel):
        return _forward_file(model, inputs, what)
    trail = Trail(model)
    try:
        with torch.no_grad():
            result = model(*(torch.from_numpy(np.ascontiguousarray(a)) for a in inputs.values()))
    except Exception as error:
        raise trail.explain(error, inputs, what) from error
    finally:
        trail.remove()
    tensors = [result] if isinstance(result, Tensor) else list(result)
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise ContractError(
            "source-invalid",
            f"The model returns {type(result).__name__}; only tensors, or a tuple of them, can be converted.",
            hint="Wrap the model in a module whose forward returns tensors.",
        )
    return {f"output_{i}": tensor.detach().numpy() for i, tensor in enumerate(tensors)}


def _forward_file(model: FileModel, inputs: data.DataSet, what: str) -> data.DataSet:
    for port in model.ports:
        given = inputs.get(port.name)
        if given is None:
            raise ContractError("source-invalid", f"There is no {what} for {port.name!r} of {model.path.name}.")
        fits = len(given.shape) == len(port.shape) and all(
            want in (None, have) for want, have in zip(port.shape[1:], given.shape[1:], strict=True)
        )
        if not fits or data.kind_name(given) != port.dtype:
            wanted = [n if n is not None else "any" for n in port.shape[1:]]
            raise ContractError(
                "shape-mismatch",
                f"The {what} {port.name} is {data.kind_name(given)}{list(given.shape[1:])} per sample; {model.path.name} "
                f"takes {port.dtype}{wanted}.".replace("'", ""),
                hint="Give both the same element type and shape.",
            )
    try:
        return model.run(inputs)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{model.path.name} loads but does not run: {summarise(error)}."
        ) from error
