"""A module without what training wrapped it in, which answers alike, and takes `*args` where the module has names."""

from __future__ import annotations

from typing import Any


def unwrapped(model: Any) -> Any:
    """What is inside of DataParallel, an average of weights, or a compiled module; else `model` itself."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    while True:
        if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel | AveragedModel):
            model = model.module
        elif hasattr(model, "_orig_mod"):  # torch.compile's
            model = model._orig_mod
        else:
            return model


def is_script(model: Any) -> bool:
    """Is it TorchScript, which no exporter takes apart."""
    import torch

    return isinstance(model, torch.jit.ScriptModule)
