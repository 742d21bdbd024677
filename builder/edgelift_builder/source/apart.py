"""A module whose forward takes more than plain tensors, as one that takes each tensor by a name of its own.

What has several tensors in it (a state `(h, c)`, a list, a dict) is taken apart: `state_0`, `state_1`, `batch_ids`. What is
no tensor but Python's own (`True`, `"mean"`, None or a number among tensors) is the same in every call, and becomes part of
the model. Both are told by the example, which is one call as forward takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgelift_builder.source.given import Source
from edgelift_builder.source.parameters import Parameter, Parameters, parameters
from edgelift_builder.source.samples import bound
from edgelift_contract.errors import ContractError


class Apart(torch.nn.Module):  # type: ignore[misc]  # mypy sees no types of torch
    """Around `model`: takes by name the tensors that `form` has, puts them together, and calls it.

    Args:
        model: the source's own.
        form: parameter → what the example has there, each tensor replaced by its name.
    """

    def __init__(self, model: Any, form: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.form = model, dict(form)
        self.takes_nan = getattr(model, "takes_nan", False)
        self.training = model.training

    @property
    def apart(self) -> Parameters:
        """What it takes."""
        return Parameters(tuple(Parameter(name) for name in _names(self.form)))

    def around(self, model: Any) -> Apart:
        """The same around another module that takes what `model` takes."""
        return Apart(model, self.form)

    def forward(self, *given: Any, **named: Any) -> Any:
        """The model's answer."""
        tensors = dict(zip((p.name for p in self.apart.known), given, strict=False)) | named
        listed, rest = parameters(self.model).arguments(
            {name: _filled(value, tensors) for name, value in self.form.items()}
        )
        return self.model(*listed, **rest)


@dataclass(frozen=True)
class _Tensor:
    """One that stands there, by its name."""

    name: str


def taken_apart(source: Source, remarks: list[str]) -> Source:
    """`source` with a model that takes plain tensors alone; `source` itself where it does.

    Args:
        source: as the user gave it.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid` where samples are of another form than the example.
    """
    takes = parameters(source.model)
    example = takes.bind(source.example_inputs, "example inputs")
    odd = [name for name, value in example.items() if _is_constant(value) or _holds_arrays(value)]
    if not odd or isinstance(source.model, torch.jit.ScriptModule) or hasattr(source.model, "_in_spec"):
        return source
    form = {name: _form(value, name, inside=False) for name, value in example.items()}
    _check_names(list(_names(form)))
    for name in odd:
        held = list(_names(form[name]))
        remarks.append(
            f"{name} is given as {', '.join(held)}: each tensor by a name of its own."
            if held
            else f"{name} is {example[name]!r} in every call: part of the model, and no input."
        )
    return replace(
        source,
        model=Apart(source.model, form),
        example_inputs=_tensors(form, example, "example inputs"),
        evaluation_inputs=_tensors(
            form, bound(takes, source.evaluation_inputs, "evaluation inputs"), "evaluation inputs"
        ),
        calibration_inputs=None
        if source.calibration_inputs is None
        else _tensors(form, bound(takes, source.calibration_inputs, "calibration inputs"), "calibration inputs"),
        fine_tune=_inside(source.fine_tune) if source.fine_tune else None,
    )


def _check_names(names: list[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ContractError(
            "source-invalid",
            f"Two inputs would be called {twice[0]}: what forward takes by that name, and a tensor inside of another.",
            hint="Call one of forward's parameters otherwise.",
        )


def _inside(tune: Any) -> Any:
    """The source's own training, which knows its own module."""

    def tuned(model: Any) -> Any:
        trained = tune(model.model)
        return model.around(trained) if isinstance(trained, torch.nn.Module) else trained

    return tuned


def _is_constant(value: Any) -> bool:
    return isinstance(value, bool | str | bytes)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """What a container holds by key or place; None where it is none."""
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, tuple | list) else None


def _holds_arrays(value: Any) -> bool:
    """Is it a container with tensors in it; a list of one is a sample, as of a model that takes any length."""
    parts = _parts(value)
    if parts is None or (isinstance(value, list) and len(parts) == 1 and _is_array(value[0])):
        return False
    return any(_is_array(part) or _holds_arrays(part) for _, part in parts)


def _form(value: Any, name: str, *, inside: bool) -> Any:
    parts = _parts(value)
    if parts is not None and (inside or _holds_arrays(value)):
        made = [(key, _form(part, f"{name}_{key}", inside=True)) for key, part in parts]
        if isinstance(value, Mapping):
            return dict(made)
        row = [part for _, part in made]
        return type(value)(*row) if hasattr(value, "_fields") else type(value)(row)
    is_constant = _is_constant(value) or (inside and not _is_array(value))
    return value if is_constant else _Tensor(name)


def _names(form: Any) -> Iterator[str]:
    if isinstance(form, _Tensor):
        yield form.name
    else:
        for _, part in _parts(form) or ():
            yield from _names(part)


def _filled(form: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(form, _Tensor):
        return tensors[form.name]
    parts = _parts(form)
    if parts is None:
        return form
    made = [_filled(part, tensors) for _, part in parts]
    if isinstance(form, Mapping):
        return dict(zip(form, made, strict=True))
    return type(form)(*made) if hasattr(form, "_fields") else type(form)(made)


def _tensors(form: Mapping[str, Any], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What `given` has for each name in `form`.

    Raises:
        ContractError: `source-invalid` where it is of another form.
    """
    found: dict[str, Any] = {}
    for name, part in form.items():
        if name in given:
            _fill(part, given[name], found, f"{name} in the {what}")
        elif list(_names(part)):
            raise ContractError(
                "source-invalid", f"The {what} have nothing for {name}, which the example inputs give."
            )
    return found


def _fill(form: Any, value: Any, found: dict[str, Any], what: str) -> None:
    if isinstance(form, _Tensor):
        found[form.name] = value
        return
    wanted, parts = _parts(form), _parts(value)
    if wanted is None:
        if _is_array(value) or value != form:
            said = "an array" if _is_array(value) else repr(value)
            raise ContractError(
                "source-invalid",
                f"{what} is {said}, in the example inputs {form!r}.",
                hint="What is no tensor is part of the model, and the same in every call. Or give a tensor in all of them.",
            )
        return
    if parts is None or [key for key, _ in wanted] != [key for key, _ in parts]:
        raise ContractError(
            "source-invalid",
            f"{what} is of another form than in the example inputs, which have {len(wanted)} there: "
            f"{', '.join(str(key) for key, _ in wanted)}.",
            hint="Give it in the same form, each tensor in it with all samples.",
        )
    for (_, part), (_, inner) in zip(wanted, parts, strict=True):
        _fill(part, inner, found, what)
