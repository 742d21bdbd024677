"""Dynamic int8 as TorchScript: weights in 8 bits, activations quantised while running.

What `quantize_dynamic(model, {Linear, Conv2d}, 8)` means to say: the number is no dtype (torch 2.13 refuses
it) and stands for `torch.qint8`; and only linear and recurrent layers have dynamic kernels. Convolutions
asked for stay float, and the piece says so.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from edgelift_builder.convert.script_refusal import explain
from edgelift_builder.convert.torchscript import MODEL, check_archive, script
from edgelift_builder.exceptions import summarise
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.source import tensors
from edgelift_builder.source.held import module
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: torch.nn layers with a dynamic int8 kernel (torch.ao.quantization's default dynamic mappings, torch 2.13).
DYNAMIC = ("Linear", "LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell")


class DynamicInt8:
    """source → TorchScript with int8 weights in the layers that can have them."""

    name = "dynamic-int8"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """`layers`: names of torch.nn classes to quantise."""
        return check_options(self.name, options, {"layers": ["Linear"]})

    def requires(self, piece: Piece) -> None:
        """Works on the module itself."""
        demand(self.name, piece, "source")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Quantise a copy in the child and script it.

        Raises:
            ContractError: `conversion-failed`, also when no layer can be quantised.
        """
        path = str(folder / MODEL)
        quantised, left = context.child.call(
            quantise, piece.handle, settings["layers"], path, context.facts.batch_free,
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        made = Piece(
            "torchscript", "", folder, ((MODEL, "model"),), precision="int8", left_float=tuple(left),
            remarks=(f"int8 weights in {', '.join(quantised)}",),
        )  # fmt: skip
        return StepOutput(made, changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """An archive without debug records that says it is int8."""
        check_archive(self.name, result.piece.model_path)
        if result.piece.precision != "int8":
            raise failed(self.name, "nothing was quantised")


def quantise(handle: str, layers: list[str], path: str, batch_free: bool) -> tuple[list[str], list[str]]:
    """In the child: write the quantised script; return the layers quantised, and those asked for but left float.

    Raises:
        ContractError: `conversion-failed`.
    """
    import torch

    model = module(handle)
    if isinstance(model, torch.jit.ScriptModule):
        raise ContractError(
            "conversion-failed",
            "The model is TorchScript already, whose layers torch can no longer put others in place of.",
            hint="Quantise the module (torch.ao.quantization.quantize_dynamic) before it is scripted: it ships as it comes.",
        )
    kinds = _kinds(model)
    wanted = {name: kind for name, kind in kinds.items() if kind in layers}
    able = {getattr(torch.nn, kind) for kind in layers if kind in DYNAMIC}
    quantised = [name for name, kind in wanted.items() if kind in DYNAMIC]
    left = [f"{name} ({kind})" for name, kind in wanted.items() if kind not in DYNAMIC]
    if not quantised:
        raise ContractError("conversion-failed", _nothing(layers, kinds), hint=_OTHER_INT8)
    try:
        made = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), able, dtype=torch.qint8)
    except Exception as error:
        raise explain(error, "quantised") from error
    _try(made)
    script(made, Path(path), batch_free=batch_free)
    return quantised, left


def _try(made: Any) -> None:
    """Refuse what no longer runs: it looks at weights that a quantised layer has no more.

    Raises:
        ContractError: `conversion-failed`.
    """
    import torch

    try:
        with torch.no_grad():
            tensors.ask(made, tensors.example())
    except Exception as error:
        raise ContractError(
            "conversion-failed",
            f"With its layers quantised by torch the model no longer runs: {summarise(error)}.",
            hint=f"It looks at what a layer in int8 does not have, its weights as a tensor. {_OTHER_INT8}",
        ) from error


_OTHER_INT8 = "Static int8 quantises convolutions, and ONNX and TFLite have dynamic int8 of their own."


def _nothing(layers: list[str], kinds: dict[str, str]) -> str:
    """What was looked for, and what there is."""
    asked = " or ".join(kind for kind in layers if kind in DYNAMIC)
    if not asked:
        return (
            f"torch has no dynamic int8 of {', '.join(layers) or 'no layer'}: it has it of {', '.join(DYNAMIC)}."
        )
    there = ", ".join(dict.fromkeys(kinds.values())) or "none"
    return f"The model has no {asked} layer, which torch could quantise dynamically; its layers: {there}."


def _kinds(model: Any) -> dict[str, str]:
    """Layer → its class in torch.nn; another class of the same name is another, and torch leaves it alone."""
    import torch

    return {
        name: type(layer).__name__
        for name, layer in model.named_modules()
        if name and getattr(torch.nn, type(layer).__name__, None) is type(layer)
    }
