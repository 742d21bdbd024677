"""Padding that torch's convolutions in one dimension have by name, in numbers: litert-torch takes its letters for those."""

from __future__ import annotations

from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode


class PaddingInNumbers(TorchFunctionMode):  # type: ignore[misc]  # mypy sees no types of torch
    """As a context: `conv1d` is never called with `same` or `valid`."""

    def __torch_function__(
        self, function: Any, _types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer, with its padding in numbers."""
        if function is functional.conv1d:
            return _conv1d(dict(zip(_ARGUMENTS, given, strict=False)) | (named or {}))
        return function(*given, **(named or {}))


_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


def _conv1d(given: dict[str, Any]) -> Any:
    if isinstance(given.get("padding"), str):
        dilation = given.get("dilation", 1)
        step = dilation if isinstance(dilation, int) else dilation[0]
        both = step * (given["weight"].shape[-1] - 1) if given["padding"] == "same" else 0
        # An odd one out goes to the end, as torch.nn.functional.conv1d has it.
        given |= {"input": functional.pad(given["input"], (both // 2, both - both // 2)), "padding": 0}
    return functional.conv1d(**given)
