"""Walking an ONNX model: all its messages, its graphs, what a node reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: The oldest opset whose operators onnxruntime has (its docs/Versioning.md).
OLDEST_OPSET = 7


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all below it."""
    yield message
    for described, value in message.ListFields():
        if described.message_type is None or described.message_type.GetOptions().map_entry:
            continue
        for part in value if not hasattr(value, "ListFields") else (value,):
            yield from messages(part)


def graphs(model: Any) -> Iterator[Any]:
    """The main graph, and those of If, Loop and Scan, also in functions; not a function's own body, which is none."""
    return (m for m in messages(model) if m.DESCRIPTOR.name == "GraphProto")


def reads(node: Any) -> Iterator[str]:
    """Names a node reads, those of its sub-graphs included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
            yield from (v.name for v in graph.output)


def nodes(model: Any) -> Iterator[Any]:
    """Every node, sub-graphs and functions included."""
    return (m for m in messages(model) if m.DESCRIPTOR.name == "NodeProto")


def opset_of(model: Any) -> int:
    """Of the standard operators; 0 where there are none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
