"""Pruning by a mask: `W_p = W ⊙ M`, where M is 0 for the weights of least magnitude and 1 for the others.

Over the whole model (`global`), in each layer (`layer`), or N of every M neighbours along the inputs (`2:4`: two
of four stay). Zeros alone make nothing smaller or faster in these runtimes: what comes of it is weights that
quantise and compress better, and the gates reject it where that is not measured. Masks are made by
`torch.nn.utils.prune` and kept through the training that follows.

Source: S. Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015; N:M:
A. Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgelift_builder.optimise import training
from edgelift_builder.optimise.module_step import ModuleStep, share_of_model
from edgelift_contract.errors import ContractError


def prune(model: Any, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    """Mask, train on, make the mask permanent.

    Raises:
        ContractError: `step-failed` when there is no weight to prune; what the training raises.
    """
    from torch.nn.utils import prune as torch_prune

    weights = _weights(model)
    if not weights:
        raise ContractError("step-failed", "The model has no convolution or linear layer whose weights could go.")
    mask(weights, settings["pattern"], settings["amount"])
    trained, remark = training.win_back(model, data_folder, settings["epochs"])
    for layer, name in _weights(trained):
        if torch_prune.is_pruned(layer):
            torch_prune.remove(layer, name)
    share = zeros(trained)
    if share < 0.9 * _wanted(settings):
        raise ContractError(
            "step-failed", f"Only {share:.0%} of the weights are 0 after training: the mask was lost."
        )
    return trained, [f"{share:.0%} of the weights are 0.", remark]


def _check(settings: dict[str, Any]) -> dict[str, Any]:
    if settings["pattern"] not in ("global", "layer") and not _n_of_m(settings["pattern"]):
        raise ContractError(
            "unknown-recipe",
            f"The step prune-weights has no pattern {settings['pattern']!r}.",
            hint="It has global, layer, and N:M as 2:4.",
        )
    return share_of_model("prune-weights", settings)


#: `amount`: share of weights that go; `pattern`: `global`, `layer` or `N:M`; `epochs` of distillation.
PRUNE_WEIGHTS = ModuleStep("prune-weights", prune, {"amount": 0.5, "pattern": "global", "epochs": 20}, _check)


def mask(weights: list[tuple[Any, str]], pattern: str, amount: float) -> None:
    """Put a mask on each `(layer, parameter)`; its weights read as W ⊙ M from here on."""
    from torch.nn.utils import prune as torch_prune

    n_of_m = _n_of_m(pattern)
    if pattern == "global":
        torch_prune.global_unstructured(weights, torch_prune.L1Unstructured, amount=amount)
        return
    for layer, name in weights:
        if n_of_m:
            torch_prune.custom_from_mask(layer, name, keep_n_of_m(getattr(layer, name), *n_of_m))
        else:
            torch_prune.l1_unstructured(layer, name, amount)


def keep_n_of_m(weight: Any, n: int, m: int) -> Any:
    """A mask with the `n` largest of every `m` neighbours along the inputs: `[64, 128]` → 32 groups of 4 a row.

    A last group that is short stays whole.
    """
    import torch

    rows = weight.detach().abs().reshape(weight.shape[0], -1)
    whole = rows.shape[1] // m * m
    made = torch.ones_like(rows)
    groups = rows[:, :whole].reshape(rows.shape[0], -1, m)
    ranks = groups.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1, stable=True)
    made[:, :whole] = (ranks < n).to(made.dtype).reshape(rows.shape[0], whole)
    return made.reshape(weight.shape)


def zeros(model: Any) -> float:
    """Share of the prunable weights that are exactly 0."""
    weights = [getattr(layer, name) for layer, name in _weights(model)]
    return float(sum(int((w == 0).sum()) for w in weights) / max(1, sum(w.numel() for w in weights)))


def _weights(model: Any) -> list[tuple[Any, str]]:
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return [(layer, "weight") for layer in model.modules() if isinstance(layer, kinds)]


def _wanted(settings: dict[str, Any]) -> float:
    n_of_m = _n_of_m(settings["pattern"])
    return 0.5 * (1 - n_of_m[0] / n_of_m[1]) if n_of_m else float(settings["amount"])


def _n_of_m(pattern: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", pattern)
    pair = (int(found[1]), int(found[2])) if found else None
    return pair if pair and pair[0] < pair[1] else None
