"""Dynamic int8 as TorchScript: weights in 8 bits, activations quantised while running.

What `quantize_dynamic(model, {Linear, Conv2d}, 8)` means to say: the number is no dtype (torch 2.13 refuses
it) and stands for `torch.qint8`; and only linear and recurrent layers have dynamic kernels. Convolutions
asked for stay float, and the piece says so.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from edgelift_builder.convert.torchscript import MODEL, check_archive, script
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
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
            quantise, piece.handle, settings["layers"], path, on_failure=on_step_failure(self.name)
        )
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


def quantise(handle: str, layers: list[str], path: str) -> tuple[list[str], list[str]]:
    """In the child: write the quantised script; return the layers quantised, and those asked for but left float.

    Raises:
        ContractError: `conversion-failed`.
    """
    import torch

    model = module(handle)
    wanted = {name: kind for name, kind in _kinds(model).items() if kind in layers}
    able = {getattr(torch.nn, kind) for kind in layers if kind in DYNAMIC}
    quantised = [name for name, kind in wanted.items() if kind in DYNAMIC]
    left = [f"{name} ({kind})" for name, kind in wanted.items() if kind not in DYNAMIC]
    if not quantised:
        raise ContractError(
            "conversion-failed",
            f"No layer of the model can be quantised dynamically: {', '.join(DYNAMIC)} could.",
            hint="Use static-int8, which quantises convolutions too.",
        )
    made = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), able, dtype=torch.qint8)
    script(made, Path(path))
    return quantised, left


def _kinds(model: Any) -> dict[str, str]:
    return {name: type(layer).__name__ for name, layer in model.named_modules() if name}
