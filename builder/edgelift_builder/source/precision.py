"""Brings a module to float32 on the processor, which is what every runtime here computes in and on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from edgelift_contract.errors import ContractError


def to_processor(model: Any, remarks: list[str]) -> None:
    """Bring a module that lies on a GPU back.

    Args:
        model: a module.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid` where it has no weights.
    """
    if not isinstance(model, torch.nn.Module):
        return
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            called = name.removeprefix("model.")
            raise ContractError(
                "source-invalid",
                f"The model has no weights: {called} is on torch's meta device, which keeps shapes alone.",
                hint="Build it without torch.device('meta'), or load its weights with load_state_dict(…, assign=True).",
            )
    elsewhere = {t.device.type for t in (*model.parameters(), *model.buffers())} - {"cpu"}
    if elsewhere:
        model.cpu()
        remarks.append(f"The model was on {' and '.join(sorted(elsewhere))} and was brought to the processor.")


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


_enter = torch.autocast.__enter__
_met: set[str] = set()


def leave_autocast_off() -> None:
    """From now on `torch.autocast` changes nothing in this process, in forward or decorating it: exporters write what it
    casts to as operators of bfloat16, which no runtime here has.
    """
    _met.clear()
    torch.autocast.__enter__ = _enter_without


def autocast_met() -> tuple[str, ...]:
    """What it would have cast to, since then: `bfloat16`; empty where nothing turned it on."""
    return tuple(sorted(_met))


@contextmanager
def autocast_as_it_is() -> Iterator[None]:
    """As a context: torch's own, whose source torch.jit.script reads."""
    now = torch.autocast.__enter__
    torch.autocast.__enter__ = _enter
    try:
        yield
    finally:
        torch.autocast.__enter__ = now


def _enter_without(self: Any) -> Any:
    if self._enabled:
        _met.add(str(self.fast_dtype).removeprefix("torch."))
        self._enabled = False
    return _enter(self)
