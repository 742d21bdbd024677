"""Runs the float model, module or file, one call at a time; a failure is told by what does not fit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgelift_builder import data
from edgelift_builder.exceptions import summarise
from edgelift_builder.source import answers, tensors
from edgelift_builder.source.file_model import FileModel
from edgelift_builder.source.trail import Trail
from edgelift_contract.errors import ContractError


def forward(model: Any, call: data.DataSet, what: str) -> data.DataSet:
    """One call of the model; outputs are named as `answers` says, or as a model file names them.

    Args:
        model: a module or a `FileModel`.
        call: an array for each parameter, see `calls`.
        what: for errors, as `example input`.

    Raises:
        ContractError: `shape-mismatch`, naming the layer and what it was given; `source-invalid` when it returns what is no
            tensor; else `source-raised`.
    """
    if isinstance(model, FileModel):
        return _forward_file(model, call, what)
    trail = Trail(model)
    try:
        with torch.no_grad():
            result = tensors.ask(model, tensors.tensors(call))
    except Exception as error:
        raise trail.explain(error, call, what) from error
    finally:
        trail.remove()
    return {name: _array(made) for name, made in answers.named(result, call).items()}


def _array(made: Tensor) -> data.Array:
    if made.layout is not torch.strided or made.is_complex() or made.dtype is torch.bfloat16:
        kind = "a sparse tensor" if made.layout is not torch.strided else str(made.dtype).removeprefix("torch.")
        raise ContractError(
            "source-invalid",
            f"The model answers in {kind}, which no client can be given.",
            hint="Return it as plain numbers: with float(), to_dense(), or torch.view_as_real.",
        )
    array: data.Array = made.detach().numpy()
    return array


def _forward_file(model: FileModel, call: data.DataSet, what: str) -> data.DataSet:
    for port in model.ports:
        given = call.get(port.name)
        if given is None:
            raise ContractError("source-invalid", f"There is no {what} for {port.name!r} of {model.name}.")
        fits = len(given.shape) == len(port.shape) and all(
            want in (None, have) for want, have in zip(port.shape, given.shape, strict=True)
        )
        if not fits or data.kind_name(given) != port.dtype:
            raise ContractError(
                "shape-mismatch",
                f"One sample of the {what} {port.name} is {data.kind_name(given)}{list(given.shape)}; {model.name} "
                f"takes {port}.",
                hint="Give both the same element type and shape.",
            )
    try:
        return model.run(call)
    except ContractError:
        raise
    except Exception as error:
        raise ContractError(
            "source-invalid", f"{model.name} loads but does not run: {summarise(error)}."
        ) from error
