"""Nodes of a float ONNX graph that eight bits would spoil, whatever the calibration says.

- The *tail*: what stands between the last layers and the outputs. A detector's boxes in pixels and scores in [0, 1] come
  together there in one tensor, and one scale for both leaves nothing of the scores. It moves data and costs next to nothing.
- What touches infinity or NaN, as the scores of a masked attention: no range holds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgelift_builder.optimise.prepare import HEAVY


def tail(graph: Any) -> list[str]:
    """Names of the nodes after the last heavy one on every way to an output."""
    made_by = {name: node for node in graph.node for name in node.output if name}
    ahead = [value.name for value in graph.output]
    found: dict[str, None] = {}
    while ahead:
        node = made_by.get(ahead.pop())
        if node is None or node.op_type in HEAVY or node.name in found:
            continue
        found[node.name] = None
        ahead += [name for name in node.input if name]
    return list(found)


def touching(graph: Any, tensors: Iterable[str]) -> list[str]:
    """Names of the nodes that read or make one of `tensors`."""
    wanted = set(tensors)
    return [node.name for node in graph.node if wanted & {*node.input, *node.output}]
