"""Attention as exporters take it: with four axes, `[n, length, size]` as `[n, 1, length, size]`; its mask as it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn import functional
from torch.nn.modules import transformer
from torch.overrides import TorchFunctionMode

#: Axes of queries, keys and values that exporters know: samples, heads, places, sizes.
_AXES = 4


class AttentionOfFourAxes(TorchFunctionMode):  # type: ignore[misc]  # mypy sees no types of torch
    """As a context: `scaled_dot_product_attention` is only ever called with four axes."""

    def __torch_function__(
        self, function: Any, _types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer, in the axes that it was asked in."""
        if function is functional.scaled_dot_product_attention:
            return _attention(*given, **(named or {}))
        return function(*given, **(named or {}))


def _attention(query: Any, key: Any, value: Any, attn_mask: Any = None, *rest: Any, **named: Any) -> Any:
    if query.dim() != _AXES - 1:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **named)
    if attn_mask is not None and attn_mask.dim() == _AXES - 1:
        attn_mask = attn_mask.unsqueeze(1)
    query, key, value = (part.unsqueeze(1) for part in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **named).squeeze(1)


@contextmanager
def mask_as_given() -> Iterator[None]:
    """As a context: nn.Transformer's layers do not look whether a mask is the causal one, which no exporter can follow; it
    only spares them the mask where it is.
    """
    looks = transformer._detect_is_causal_mask
    transformer._detect_is_causal_mask = lambda mask, is_causal=None, size=None: is_causal is True  # noqa: ARG005 - as torch calls it
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = looks
