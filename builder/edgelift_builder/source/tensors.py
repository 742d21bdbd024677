"""A module's inputs as tensors, and calling it with them: by position as far as none is left out, the rest by name."""

from __future__ import annotations

import inspect
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


def ask(model: Any, call: Mapping[str, Any]) -> Any:
    """What `model` returns for one call, as it returns it."""
    listed, named = parameters(model).arguments(call)
    return model(*listed, **named)


def run(model: Any, call: Mapping[str, Any]) -> Any:
    """What `model` returns for one call: a tensor, or a row of them; see `answers.listed`."""
    from edgelift_builder.source import answers

    return answers.listed(ask(model, call))


def several(samples: data.DataSet, indexes: data.Array) -> dict[str, Any]:
    """Samples of a data set in one call of the source's model."""
    _, axes = held.example()
    chosen = {name: column[indexes] for name, column in samples.items()}
    return tensors(calls.several(chosen, 0, len(indexes), axes))


def example() -> dict[str, Any]:
    """One call of the source's model."""
    return tensors(held.example()[0])


def by_name(model: Any) -> Any:
    """A module that takes the source's inputs by name, and answers by name where `model` does: a `torch.export` program
    takes them only as it was exported.
    """
    import torch

    from edgelift_builder.source import answers

    plain = _answers_plainly(model)
    if plain and not hasattr(model, "_in_spec") and _takes_names(model):
        return model

    class ByName(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **given: Any) -> Any:
            answer = ask(self.model, given)
            return answer if plain else answers.named(answer, given)

    wrapper = ByName()
    wrapper.training = False  # see `by_position`
    return wrapper


def by_position(model: Any) -> Any:
    """A module that takes the source's inputs by position, each as a parameter, and answers with a tensor or a row of them;
    `model` where it does so.
    """
    import torch

    taken, names = parameters(model), list(example())
    if not (
        hasattr(model, "apart") or taken.any_position or taken.any_name or taken.arguments(example())[1]
    ) and _answers_plainly(model):
        return model

    class ByPosition(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            return run(self.model, dict(zip(names, given, strict=True)))

    # An exporter asks the signature how many there are. Names of inputs may be no names of Python's.
    listed = ["self", *(f"input_{k}" for k in range(len(names)))]
    ByPosition.forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as inspect documents it
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in listed]
    )
    wrapper = ByPosition()
    wrapper.training = False  # without telling a program inside: its own eval() only raises
    return wrapper


def _takes_names(model: Any) -> bool:
    """Can every input be given by a parameter of its name: not what goes into `*args`, or before a `/`."""
    if hasattr(model, "apart"):
        return False
    kinds = {parameter.kind for parameter in inspect.signature(model.forward).parameters.values()}
    return not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}


def _answers_plainly(model: Any) -> bool:
    import torch

    from edgelift_builder.source import answers

    with torch.no_grad():
        return answers.is_plain(ask(model, example()))
