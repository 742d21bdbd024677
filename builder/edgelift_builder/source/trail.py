"""Which layer a model's forward was in when it failed."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from edgelift_builder import data
from edgelift_builder.exceptions import summarise
from edgelift_contract.errors import ContractError

#: What in it says that element types are.
_TYPES = re.compile(r"same dtype|expected scalar type|type .* and (weight|bias) type .* should be the same")

#: What in an exception's text says that shapes, not code, are at fault.
_SHAPE_WORDS = ("shape", "size", "dimension", "channels", "multiplied", "expected input", "broadcast")


class Trail:
    """Notes which leaf layer was entered last and with what, so that a failure can name it."""

    def __init__(self, model: nn.Module) -> None:
        self._inside: list[tuple[str, nn.Module, tuple[Any, ...]]] = []
        self._handles = []
        own = (
            model.model if hasattr(model, "apart") else model
        )  # layers are called as the user's module calls them
        for name, layer in own.named_modules() if not isinstance(own, torch.jit.ScriptModule) else ():
            if name and not list(layer.children()):
                self._handles.append(layer.register_forward_pre_hook(self._enter(name)))
                self._handles.append(layer.register_forward_hook(self._leave))

    def _enter(self, name: str) -> Any:
        return lambda layer, args: self._inside.append((name, layer, args))

    def _leave(self, _layer: nn.Module, _args: Any, _output: Any) -> None:
        self._inside.pop()

    def remove(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()

    def explain(self, error: Exception, inputs: data.DataSet, what: str) -> ContractError:
        """The error in words: `shape-mismatch` with the layer, or `source-raised`."""
        given = ", ".join(f"{n} {a.dtype.name}{list(a.shape)}" for n, a in inputs.items())
        if _TYPES.search(str(error)):
            return ContractError(
                "source-raised",
                f"The {what} {given} is of another type than the model computes in: {summarise(error)}.",
                hint="Give float32 samples, as with .astype(numpy.float32), to a model in float32.",
            )
        if not any(word in str(error).lower() for word in _SHAPE_WORDS):
            return ContractError(
                "source-raised",
                f"The model's forward raised {summarise(error)}, given the {what} {given}.",
                hint="Run again with --debug for the whole traceback.",
            )
        if not self._inside:
            return ContractError(
                "shape-mismatch", f"The {what} {given} does not fit the model: {summarise(error)}.", hint=_HINT
            )
        name, layer, args = self._inside[-1]
        got = ", ".join(str(list(a.shape)) for a in args if isinstance(a, Tensor))
        return ContractError(
            "shape-mismatch",
            f"The {what} {given} does not fit the model: layer {name} ({_wants(layer)}) was given {got}.",
            hint=_HINT,
        )


_HINT = "Use inputs of the size that the model was made for, or change that layer."


def _wants(layer: nn.Module) -> str:
    kind = type(layer).__name__
    for attribute, words in (("in_features", "input features"), ("in_channels", "input channels")):
        if hasattr(layer, attribute):
            return f"{kind}, which expects {getattr(layer, attribute)} {words}"
    return kind
