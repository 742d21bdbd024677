"""A module's inputs as tensors, and calling it with them: by position as far as none is left out, the rest by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.source import held
from edgelift_builder.source.parameters import parameters


def tensor(array: data.Array) -> Any:
    """A copy of an array as torch takes it: a model may write into what it is given."""
    import torch  # only where it is used: steps are listed in the parent, which has none

    return torch.from_numpy(np.array(array, order="C"))


def tensors(call: Mapping[str, data.Array]) -> dict[str, Any]:
    """A call's arrays as tensors."""
    return {name: tensor(array) for name, array in call.items()}


def run(model: Any, call: Mapping[str, Any]) -> Any:
    """What `model` returns for one call."""
    listed, named = parameters(model).arguments(call)
    return model(*listed, **named)


def several(samples: data.DataSet, indexes: data.Array) -> dict[str, Any]:
    """Samples of a data set in one call of the source's model."""
    _, axes = held.example()
    chosen = {name: column[indexes] for name, column in samples.items()}
    return tensors(calls.several(chosen, 0, len(indexes), axes))


def example() -> dict[str, Any]:
    """One call of the source's model."""
    return tensors(held.example()[0])


def by_name(model: Any) -> Any:
    """A module that takes the source's inputs by name: a `torch.export` program takes them only as it was exported."""
    import torch

    if not hasattr(model, "_in_spec"):
        return model

    class ByName(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **given: Any) -> Any:
            return run(self.model, given)

    wrapper = ByName()
    wrapper.training = False  # without telling the program inside: its own eval() only raises
    return wrapper


def in_order(model: Any) -> Any:
    """A module that takes the source's inputs by position; None where `model` itself does."""
    import torch

    names = list(example())
    if not parameters(model).arguments(example())[1]:
        return None

    class InOrder(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return run(self.model, dict(zip(names, given, strict=True)))

    return InOrder()
