"""Takes out of an ONNX file what would tie it to a folder, and lays its weights beside the graph.

torch's exporter writes stack traces with absolute paths into `metadata_props`, so the hash would change with
the checkout and private paths would travel to the field. Nothing a runtime reads is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir

from edgelift_builder.source.onnx_walk import nodes

MODEL, WEIGHTS = "model.onnx", "weights.bin"

#: Tensors at least this large go beside the graph, bytes; smaller ones are cheaper inline.
EXTERNAL_FROM_BYTES = 1024

#: What the oldest onnxruntime reads that is offered; an older form of the same graph. See `onnx_versions`.
IR_VERSION = 9

_DROPPED = ("metadata_props", "doc_string")


def store(source: Path, folder: Path) -> list[str]:
    """Write `source` into `folder` as graph and weights, stripped; the same model gives the same bytes.

    Args:
        source: an ONNX file, its external data beside it.
        folder: receives `model.onnx`, and `weights.bin` where any tensor is large enough.

    Returns:
        The names of the files written, the model first.
    """
    graph = onnx_ir.load(source)  # large tensors stay on disk, memory-mapped
    graph.graph.sort()  # converters append nodes; ONNX wants each after what it reads, and only onnxruntime forgives
    onnx_ir.save(graph, folder / MODEL, external_data=WEIGHTS, size_threshold_bytes=EXTERNAL_FROM_BYTES)
    proto = onnx.load(folder / MODEL, load_external_data=False)
    scrub(proto)
    drop_unused_domains(proto)
    proto.ir_version = min(proto.ir_version, IR_VERSION)
    proto.producer_name, proto.producer_version = "edgelift", ""
    (folder / MODEL).write_bytes(proto.SerializeToString(deterministic=True))
    return [MODEL, WEIGHTS] if (folder / WEIGHTS).exists() else [MODEL]


def scrub(message: Any) -> None:
    """Clear `metadata_props` and `doc_string` in a protobuf message and all below it."""
    for name in _DROPPED:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for part in value if not hasattr(value, "ListFields") else (value,):
            scrub(part)


def drop_unused_domains(model: Any) -> None:
    """Clear imports of operator sets that nothing in a model is of: each asks for a runtime that knows it."""
    used = {"", *(_short(node.domain) for node in nodes(model))}
    kept = [o for o in model.opset_import if _short(o.domain) in used]
    kept = [type(o).FromString(o.SerializeToString()) for o in kept]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _short(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def operators(path: Path) -> list[tuple[str, str]]:
    """`(type, name)` of every node of the main graph."""
    proto = onnx.load(path, load_external_data=False)
    return [(node.op_type, node.name) for node in proto.graph.node]
