"""A source's arrays by the name of the parameter that takes them."""

from __future__ import annotations

import inspect
from typing import Any

from edgelift_builder import data
from edgelift_contract.errors import ContractError


def input_names(model: Any, count: int) -> list[str]:
    """Names of `forward`'s first `count` parameters; `input_0` … where it takes `*args`."""
    if hasattr(model, "input_names"):
        return list(model.input_names[:count])
    if type(model).__name__ == "RecursiveScriptModule":
        return [i.debugName().partition(".")[0] for i in model.graph.inputs()][1 : count + 1]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    return (names + [f"input_{i}" for i in range(len(names), count)])[:count]


def by_name(model: Any, values: Any, what: str) -> data.DataSet:
    """A source's arrays as a data set, in the order of `forward`'s parameters.

    Raises:
        ContractError: `source-invalid` when lengths differ.
    """
    if isinstance(values, dict) and hasattr(model, "input_names"):
        values = {n: values[n] for n in model.input_names if n in values}
    if not isinstance(values, dict):
        listed = list(values) if isinstance(values, tuple | list) else [values]
        values = dict(zip(input_names(model, len(listed)), listed, strict=True))
    arrays = {n: data.plain(v.detach().cpu() if hasattr(v, "detach") else v) for n, v in values.items()}
    lengths = {n: len(a) if a.ndim else 0 for n, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ContractError("source-invalid", f"The {what} differ in their number of samples: {lengths}.")
    return arrays
