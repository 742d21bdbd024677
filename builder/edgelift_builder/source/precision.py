"""Brings a module to float32, which is what every runtime here computes in."""

from __future__ import annotations

from typing import Any

import torch


def to_float32(model: Any, remarks: list[str]) -> bool:
    """Widen bfloat16 and narrow float64 parameters and buffers in place; True where there were any. TorchScript, which is
    shipped as it is, keeps float64.

    Args:
        model: a module.
        remarks: for people, to be added to.
    """
    if not isinstance(model, torch.nn.Module):
        return False
    tensors = [*model.parameters(), *model.buffers()]
    changed = {torch.bfloat16} if isinstance(model, torch.jit.ScriptModule) else {torch.bfloat16, torch.float64}
    found = {t.dtype for t in tensors} & changed
    if not found:
        return False
    model.float()
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in found))
    remarks.append(f"The model holds {names}, which was made float32: runtimes on devices compute in that.")
    return True
