"""What a model's forward takes, and which of a source's arrays goes where.

Arrays come as `forward` is called in Python: one array; a tuple in the order of the parameters, None for one that is left
out; a dict by name, in any order; or a tuple whose last item is a dict, for the rest by name.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelift_contract.errors import ContractError


@dataclass(frozen=True)
class Parameter:
    """One parameter of forward: must it be given, and can it only be given by its name."""

    name: str
    required: bool = True
    only_by_name: bool = False


@dataclass(frozen=True)
class Parameters:
    """What forward takes, in its order; `any_position` for `*args`, `any_name` for `**kwargs`."""

    known: tuple[Parameter, ...]
    any_position: bool = False
    any_name: bool = False

    def bind(self, values: Any, what: str) -> dict[str, Any]:
        """A source's arrays by the name of their parameter, in forward's order.

        Args:
            values: see above.
            what: for errors, as `example inputs`.

        Raises:
            ContractError: `source-invalid` for a name that forward lacks, one that is given twice or missing.
        """
        listed, named = self._taken_apart(values)
        given = dict(zip(self._positions(len(listed), what), listed, strict=True))
        for name, value in named.items():
            if given.get(name) is not None:
                raise ContractError("source-invalid", f"The {what} give {name!r} twice: by position and by name.")
            self._check_name(name, what)
            given[name] = value
        given = {name: value for name, value in given.items() if value is not None}
        missing = [p.name for p in self.known if p.required and p.name not in given]
        if missing:
            raise ContractError(
                "source-invalid",
                f"The {what} have nothing for {', '.join(missing)}, which the model's forward takes.",
                hint=f"They have {', '.join(given) or 'nothing'}.",
            )
        order = [p.name for p in self.known]
        return {name: given[name] for name in (*order, *(n for n in given if n not in order)) if name in given}

    def arguments(self, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """How forward is called with what `bind` gave: by position as far as none is left out, the rest by name."""
        listed: list[Any] = []
        for parameter in self.known:
            if parameter.name not in given or parameter.only_by_name:
                break
            listed.append(given[parameter.name])
        rest = list(given)[len(listed) :]
        if self.any_position and len(listed) == len(self.known):
            # What came by position beyond them bears its place's number; with `**kwargs`, too, the rest came by name.
            numbered = [name for name in rest if not self.any_name or re.fullmatch(r"input_\d+", name)]
            return [*listed, *map(given.__getitem__, numbered)], {n: given[n] for n in rest if n not in numbered}
        return listed, {name: given[name] for name in rest}

    def _taken_apart(self, values: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        if isinstance(values, Mapping):
            return (), values
        if not isinstance(values, tuple | list):
            return (values,), {}
        if values and isinstance(values[-1], Mapping) and not self._is_value(values[-1], len(values)):
            return values[:-1], values[-1]
        return values, {}

    def _is_value(self, last: Mapping[str, Any], count: int) -> bool:
        """Is a dict at the end what a parameter takes, not others by name: it names none, and there is a place for it."""
        names = [p.name for p in self.known]
        by_place = sum(not p.only_by_name for p in self.known)
        return not self.any_name and bool(last) and count <= by_place and not any(key in names for key in last)

    def _positions(self, count: int, what: str) -> list[str]:
        names = [p.name for p in self.known if not p.only_by_name]
        if count > len(names) and not self.any_position:
            takes = f"takes {len(names)}: {', '.join(names)}" if names else "takes none by position"
            raise ContractError("source-invalid", f"The {what} are {count} arrays; the model's forward {takes}.")
        return (names + [f"input_{i}" for i in range(len(names), count)])[:count]

    def _check_name(self, name: str, what: str) -> None:
        names = [p.name for p in self.known]
        if name in names or self.any_name or (self.any_position and not names):
            return
        near = difflib.get_close_matches(name, names, n=1)
        raise ContractError(
            "source-invalid",
            f"The {what} have {name!r}, which the model's forward does not take.",
            hint=f"Did you mean {near[0]}?" if near else f"It takes {', '.join(names)}.",
        )


def parameters(model: Any) -> Parameters:
    """What `model` takes: as a model file names it (`input_names`), as what was taken `apart` tells, as TorchScript's
    schema or Python's signature says.
    """
    if hasattr(model, "apart"):
        return model.apart  # type: ignore[no-any-return]  # of `apart.Apart`, which is above this
    if hasattr(model, "input_names"):
        return Parameters(tuple(Parameter(name) for name in model.input_names))
    if hasattr(model.forward, "schema"):
        arguments = model.forward.schema.arguments[1:]
        return Parameters(tuple(Parameter(a.name, not a.has_default_value(), a.kwarg_only) for a in arguments))
    kinds = inspect.Parameter
    found = inspect.signature(model.forward).parameters.values()
    exported_by_name = _exported_by_name(model)
    return Parameters(
        tuple(
            Parameter(p.name, p.default is kinds.empty, p.kind is kinds.KEYWORD_ONLY or p.name in exported_by_name)
            for p in found
            if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        ),
        any_position=any(p.kind is kinds.VAR_POSITIONAL for p in found),
        any_name=any(p.kind is kinds.VAR_KEYWORD for p in found),
    )


def _exported_by_name(model: Any) -> Sequence[str]:
    """Inputs that a `torch.export` program was given by name: it takes them in no other way."""
    spec = getattr(model, "_in_spec", None)
    return spec.children()[1].context or [] if spec is not None and spec.num_children == 2 else []
