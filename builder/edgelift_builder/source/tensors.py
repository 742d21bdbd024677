"""A module's inputs as tensors, and calling it with them: by position as far as none is left out, the rest by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgelift_builder import calls, data
from edgelift_builder.source import held
from edgelift_builder.source.parameters import parameters


def tensor(array: data.Array) -> Tensor:
    """An array as torch takes it; one without axes too."""
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))


def tensors(call: Mapping[str, data.Array]) -> dict[str, Tensor]:
    """A call's arrays as tensors."""
    return {name: tensor(array) for name, array in call.items()}


def run(model: Any, call: Mapping[str, Tensor]) -> Any:
    """What `model` returns for one call."""
    listed, named = parameters(model).arguments(call)
    return model(*listed, **named)


class _InOrder(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
    """The same module, given its inputs by position alone."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self._names = model, names

    def forward(self, *given: Tensor) -> Any:
        return run(self.model, dict(zip(self._names, given, strict=True)))


def in_order(model: Any) -> torch.nn.Module | None:
    """A module that takes the source's inputs by position; None where `model` itself does."""
    call = example()
    return _InOrder(model, list(call)) if parameters(model).arguments(call)[1] else None


def several(samples: data.DataSet, indexes: data.Array) -> dict[str, Tensor]:
    """Samples of a data set in one call of the source's model."""
    _, axes = held.example()
    chosen = {name: column[indexes] for name, column in samples.items()}
    return tensors(calls.several(chosen, 0, len(indexes), axes))


def example() -> dict[str, Tensor]:
    """One call of the source's model."""
    return tensors(held.example()[0])
