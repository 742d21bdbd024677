"""Layer pruning: whole blocks whose input and output have one shape are dropped, those that cost least first.

What a block costs is how far the model's outputs move on calibration inputs when it alone is left out (as
S. Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", 2024, judge
transformer blocks; here by the outputs rather than by one layer's). Trained on afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import training
from edgelift_builder.optimise.module_step import ModuleStep
from edgelift_builder.source import tensors
from edgelift_contract.errors import ContractError

_SAMPLES = 64


def prune(model: Any, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """Drop the blocks that cost least, and train on.

    Raises:
        ContractError: `step-failed` when there are too few such blocks; what the training raises.
    """
    import torch

    samples = next(data.stream(data_folder / CALIBRATION, _SAMPLES))
    inputs = tensors.several(samples, np.arange(data.length(samples)))
    found = costs(model, inputs)
    if len(found) < settings["count"]:
        raise ContractError(
            "step-failed",
            f"The model has {len(found)} blocks that could be left out; {settings['count']} were to go.",
            hint="Only blocks with parameters whose input and output have the same shape can go.",
        )
    gone = [name for name, _ in found[: settings["count"]]]
    for name in gone:
        _set(model, name, torch.nn.Identity())
    trained, remark = training.win_back(model, data_folder, settings["epochs"])
    return trained, [f"Left out: {', '.join(gone)}.", remark]


def _check(settings: dict[str, Any]) -> dict[str, Any]:
    if settings["count"] < 1:
        raise ContractError("unknown-recipe", "The count of the step prune-layers must be at least 1.")
    return settings


#: `count`: blocks that go; `epochs` of distillation where the source can't fine-tune.
PRUNE_LAYERS = ModuleStep("prune-layers", prune, {"count": 1, "epochs": 30}, _check)


def costs(model: Any, inputs: dict[str, Any]) -> list[tuple[str, float]]:
    """`(block, cost)` of each block that can be left out, the cheapest first; blocks inside one are not named.

    A cost is the mean squared difference of the outputs ÷ their mean square.
    """
    import torch

    model.eval()
    with torch.no_grad():
        wanted = _flat(tensors.run(model, inputs))
        found = []
        for name in _same_shape(model, inputs):
            block = model.get_submodule(name)
            _set(model, name, torch.nn.Identity())
            try:
                moved = _flat(tensors.run(model, inputs))
                found.append((name, float(((moved - wanted) ** 2).mean() / (wanted**2).mean().clamp_min(1e-12))))
            finally:
                _set(model, name, block)
    return sorted(found, key=lambda pair: pair[1])


def _same_shape(model: Any, inputs: dict[str, Any]) -> list[str]:
    """Blocks with parameters and children of their own, called once, with one tensor of one shape in and out."""
    import torch

    seen: dict[str, list[bool]] = {}
    handles = []

    def note(name: str) -> Any:
        def hook(_layer: Any, args: tuple[Any, ...], out: Any) -> None:
            plain = len(args) == 1 and isinstance(args[0], torch.Tensor) and isinstance(out, torch.Tensor)
            seen.setdefault(name, []).append(plain and args[0].shape == out.shape)

        return hook

    for name, layer in model.named_modules():
        if name and next(layer.children(), None) is not None and next(layer.parameters(), None) is not None:
            handles.append(layer.register_forward_hook(note(name)))
    tensors.run(model, inputs)
    for handle in handles:
        handle.remove()
    fitting = [name for name, fits in seen.items() if fits == [True]]
    able = [name for name in fitting if not _holds_blocks(model, name, fitting)]
    return [name for name in able if not any(name.startswith(f"{other}.") for other in able)]


def _holds_blocks(model: Any, name: str, fitting: list[str]) -> bool:
    """Is it a mere row of blocks, each of which could go by itself."""
    import torch

    layer = model.get_submodule(name)
    row = isinstance(layer, torch.nn.Sequential)
    return row and any(f"{name}.{child}" in fitting for child, _ in layer.named_children())


def _set(model: Any, name: str, layer: Any) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def _flat(result: Any) -> Any:
    import torch

    listed = [result] if isinstance(result, torch.Tensor) else list(result)
    return torch.cat([t.float().reshape(-1) for t in listed])
