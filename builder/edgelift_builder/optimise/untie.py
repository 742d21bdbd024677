"""Gives every use of a shared weight a tensor of its own, in an ONNX graph that is held in memory.

Tied weights, as an embedding table that is also the last layer's, are one tensor with two roles: looked up by row in one,
summed over in the other. Each role wants a scale of its own along its own axis, which one tensor cannot have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def untie(model: Any) -> list[str]:
    """Copy tensors of several roles, one copy a role beyond the first; the names of those that were tied."""
    import onnx

    roles: dict[str, dict[tuple[Any, ...], list[tuple[Any, int]]]] = {}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in constants:
                roles.setdefault(name, {}).setdefault(_role(node, place), []).append((node, place))
    tied = [name for name, found in roles.items() if len(found) > 1 and len(constants[name].dims) > 1]
    for name in tied:
        for number, uses in enumerate(list(roles[name].values())[1:], start=1):
            copy = onnx.TensorProto()
            copy.CopyFrom(constants[name])
            copy.name = f"{name}_tied_{number}"
            model.graph.initializer.append(copy)
            for node, place in uses:
                node.input[place] = copy.name
    return tied


def remark(tied: Sequence[str]) -> tuple[str, ...]:
    """For people, where there were any."""
    return (f"Tied weights, in 8 bits once for each of their uses: {', '.join(tied)}",) if tied else ()


def _role(node: Any, place: int) -> tuple[Any, ...]:
    return node.op_type, place, *((a.name, a.i) for a in node.attribute if a.name in ("transA", "transB", "axis"))
