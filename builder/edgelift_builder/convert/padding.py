"""Convolutions as litert-torch takes them: one in one dimension without padding by name, others without output padding."""

from __future__ import annotations

from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode


class PaddingInNumbers(TorchFunctionMode):  # type: ignore[misc]  # mypy sees no types of torch
    """As a context: `conv1d` is never called with `same` or `valid`, whose letters are taken for numbers; and
    `conv_transpose2d` never with output padding where the same is a part of what it makes without padding.
    """

    def __torch_function__(
        self, function: Any, _types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer, with its padding as said."""
        if function is functional.conv1d:
            return _conv1d(dict(zip(_ARGUMENTS, given, strict=False)) | (named or {}))
        if function is functional.conv_transpose2d:
            return _transposed(dict(zip(_TRANSPOSED, given, strict=False)) | (named or {}))
        return function(*given, **(named or {}))


_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")


def _conv1d(given: dict[str, Any]) -> Any:
    if isinstance(given.get("padding"), str):
        dilation = given.get("dilation", 1)
        step = dilation if isinstance(dilation, int) else dilation[0]
        both = step * (given["weight"].shape[-1] - 1) if given["padding"] == "same" else 0
        # An odd one out goes to the end, as torch.nn.functional.conv1d has it.
        given |= {"input": functional.pad(given["input"], (both // 2, both - both // 2)), "padding": 0}
    return functional.conv1d(**given)


def _transposed(given: dict[str, Any]) -> Any:
    padding, extra = (_pair(given.get(name, 0)) for name in ("padding", "output_padding"))
    if not any(extra) or any(more > left for more, left in zip(extra, padding, strict=True)):
        return functional.conv_transpose2d(**given)
    # Padding takes as much off both sides, output padding gives so much less at the end.
    whole = functional.conv_transpose2d(**given | {"padding": 0, "output_padding": 0})
    (top, left), (below, right) = padding, (n - more for n, more in zip(padding, extra, strict=True))
    return whole[..., top : whole.shape[-2] - below, left : whole.shape[-1] - right]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
