"""What a model answers as tensors by name: one, a tuple, a dict, a dataclass, or these in each other.

What has a name in the answer keeps it: a dict's key, the field of a dataclass or named tuple; names within names are joined,
`heads_boxes`, `states_0`. The rest is called by its place among all, `output_0`. None is no output and left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from torch import Tensor

from edgelift_contract.errors import ContractError

#: Keys, fields and places that lead to a tensor.
_Way: TypeAlias = tuple[str | int, ...]


def named(result: Any, taken: Collection[str] = ()) -> dict[str, Tensor]:
    """An answer's tensors by name, in its order.

    Args:
        result: what forward returned.
        taken: names of inputs: a graph has each name once, so an output of that name is called `output_<name>`.

    Raises:
        ContractError: `source-invalid` when there is nothing in it, or something that is no tensor.
    """
    found = list(_tensors(result, ()))
    if not found:
        raise _nothing(result)
    plain = [_name(way, place) for place, (way, _) in enumerate(found)]
    made: dict[str, Tensor] = {}
    for name, (way, tensor) in zip(plain, found, strict=True):
        if plain.count(name) > 1 or name in taken:
            name = "_".join(["output", *map(str, way)])
        while name in made or name in taken:
            name += "_"
        made[name] = tensor
    return made


def listed(result: Any) -> Any:
    """An answer as a tensor or a tuple of tensors, which is what a converter or a loss takes; raises as `named` does."""
    return result if is_plain(result) else tuple(named(result).values())


def is_plain(result: Any) -> bool:
    """Is it a tensor or a row of tensors, without names."""
    if isinstance(result, Tensor):
        return True
    row = isinstance(result, tuple | list) and not hasattr(result, "_fields")
    return row and bool(result) and all(isinstance(one, Tensor) for one in result)


def _tensors(value: Any, way: _Way) -> Iterator[tuple[_Way, Tensor]]:
    if isinstance(value, Tensor):
        yield way, value
        return
    if value is None:
        return
    parts = _parts(value)
    if parts is None:
        where = f" as {_name(way, 0)!r}" if any(isinstance(step, str) for step in way) else ""
        raise ContractError(
            "source-invalid",
            f"The model answers with {_kind(value)}{where}, and only tensors can be outputs.",
            hint="Wrap the model in a module whose forward returns tensors: one, a tuple, or a dict of them.",
        )
    for step, part in parts:
        yield from _tensors(part, (*way, step if isinstance(step, int) else str(step)))


def _parts(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a container holds, by key, field or place; None where it is none."""
    if isinstance(value, Mapping):
        return value.items()
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple | list):
        return zip(value._fields, value, strict=True) if hasattr(value, "_fields") else enumerate(value)
    return None


def _name(way: _Way, place: int) -> str:
    first = next((k for k, step in enumerate(way) if isinstance(step, str)), None)
    return f"output_{place}" if first is None else "_".join(map(str, way[first:]))


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"


def _nothing(result: Any) -> ContractError:
    said = "nothing" if result is None else f"{_kind(result)} that holds no tensor"
    return ContractError(
        "source-invalid", f"The model's forward returns {said}.", hint="Does its forward end in a `return`?"
    )
