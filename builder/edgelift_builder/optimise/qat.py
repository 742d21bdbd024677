"""Quantisation-aware fine-tuning: the model trains with the rounding that int8 will do, and learns to live with it.

While it trains, every convolution and linear layer reads its weights through `W' = round(W · Q) · s` (the plain
`definition`, one scale for each output channel) and its input through the same with a running range; gradients
pass the rounding as if it were not there (straight-through: B. Jacob et al., CVPR 2018, section 3). Afterwards the
float weights are left where quantising them costs least, the simulation is taken off, and `export-onnx` and
`static-int8` go on as with any module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.optimise import training
from edgelift_builder.optimise.module_step import ModuleStep
from edgelift_contract.errors import ContractError

#: How fast an activation's running range follows: range ← 0.99 · range + 0.01 · seen.
_MOMENTUM = 0.01


def train(model: Any, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """Simulate int8, train, take the simulation off.

    Raises:
        ContractError: `step-failed` when there is no layer to simulate; what the training raises.
    """
    handles = simulate(model)
    if not handles:
        raise ContractError("step-failed", "The model has no convolution or linear layer to train for int8.")
    trained, remark = training.win_back(model, data_folder, settings["epochs"])
    release(trained, handles)
    return trained, [f"{remark[:-1]}, with int8's rounding simulated."]


#: `epochs` of distillation where the source can't fine-tune.
QUANTISATION_AWARE = ModuleStep("quantisation-aware", train, {"epochs": 20})


def simulate(model: Any) -> list[Any]:
    """Make every convolution and linear layer compute with rounded weights and inputs; handles for `release`."""
    import torch
    from torch.nn.utils import parametrize

    handles = []
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d):
            parametrize.register_parametrization(layer, "weight", _weights(), unsafe=True)
            handles.append(layer.register_forward_pre_hook(_Inputs()))
    return handles


def release(model: Any, handles: list[Any]) -> None:
    """Take the simulation off; the float weights stay as they were trained."""
    from torch.nn.utils import parametrize

    for handle in handles:
        handle.remove()
    for layer in model.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        # The source may have trained a copy of the module, whose hooks the handles don't reach.
        for key, hook in list(layer._forward_pre_hooks.items()):
            if isinstance(hook, _Inputs):
                del layer._forward_pre_hooks[key]


def round_through(values: Any, scale: Any, low: int, high: int) -> Any:
    """`round(values / scale) · scale`, clipped; its gradient is that of `values`."""
    import torch

    rounded = torch.clamp(torch.round(values / scale), low, high) * scale
    return values + (rounded - values).detach()


def _weights() -> Any:
    import torch

    class Rounded(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here, and only imported when needed
        """W → round(W · Q) · s, one scale for each output channel (axis 0)."""

        def forward(self, weight: Any) -> Any:
            peak = weight.detach().abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
            return round_through(weight, (peak / 127).clamp_min(1e-12), -127, 127)

    return Rounded()


class _Inputs:
    """A layer's input → the same on a grid of 256 steps over the range seen lately."""

    def __init__(self) -> None:
        self._low, self._high = 0.0, 0.0

    def __call__(self, layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        values = args[0]
        low, high = min(0.0, float(values.detach().min())), max(0.0, float(values.detach().max()))
        if self._low == self._high:
            self._low, self._high = low, high
        elif layer.training or values.requires_grad:
            self._low += _MOMENTUM * (low - self._low)
            self._high += _MOMENTUM * (high - self._high)
        scale = max((self._high - self._low) / 255, 1e-12)
        zero = round(-self._low / scale)
        return (round_through(values, scale, -zero, 255 - zero), *args[1:])
