"""Which onnxruntime loads an ONNX file: by its opset, its IR version and its contributed operators.

The tables were measured: a model of one node, loaded by the wheels of these versions for x86-64 and Python 3.11; and the
operators that each of 1.17.3 to 1.25.0 lists (`get_all_operator_schema`), with their attributes and numbers of inputs.
Nothing older than `OLDEST` is offered: its session options are other ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from edgelift_builder.source.onnx_walk import nodes


class Reads(NamedTuple):
    """An onnxruntime release, and the newest opset and IR version that it loads."""

    release: tuple[int, int]
    opset: int
    ir: int


#: Oldest first. 1.18 to 1.20 are alike, 1.21 and 1.22, and 1.25 to 1.30.
TABLE = (
    Reads((1, 17), 20, 9),
    Reads((1, 18), 21, 10),
    Reads((1, 21), 22, 10),
    Reads((1, 23), 23, 11),
    Reads((1, 24), 25, 13),
    Reads((1, 25), 26, 13),
    Reads((1, 32), 26, 14),
)

OLDEST = TABLE[0].release


class Since(NamedTuple):
    """onnxruntime's own operator, from which release on; with an attribute, or with more inputs than `inputs`, where it was
    there before without.
    """

    operator: str
    release: tuple[int, int]
    attribute: str = ""
    inputs: int = 0


#: Operators of `com.microsoft`, and what they have learnt, after `OLDEST`.
CONTRIBUTED = (
    Since("GatherBlockQuantized", (1, 20)),
    Since("GatherBlockQuantized", (1, 23), "bits"),
    Since("GemmaRotaryEmbedding", (1, 18)),
    Since("GroupQueryAttention", (1, 19), "smooth_softmax"),
    Since("GroupQueryAttention", (1, 20), "softcap"),
    Since("GroupQueryAttention", (1, 22), inputs=9),
    Since("GroupQueryAttention", (1, 23), "qk_output"),
    Since("GroupQueryAttention", (1, 23), inputs=11),
    Since("GroupQueryAttention", (1, 25), inputs=12),
    Since("MatMulNBits", (1, 18), inputs=4),
    Since("MatMulNBits", (1, 19), inputs=5),
    Since("MultiHeadAttention", (1, 22), inputs=8),
    Since("PagedAttention", (1, 23)),
    Since("QMoE", (1, 18)),
    Since("RotaryEmbedding", (1, 19), "is_packed_batching"),
    Since("SparseAttention", (1, 18)),
)

#: `ai.onnx.ml` of this version and later: from which release on; older ones are in all.
CLASSICAL = (5, (1, 18))


def release_for(opset: int, ir: int) -> tuple[int, int]:
    """The oldest release that loads a model of that opset and IR version; the newest known where none is known to."""
    return next((r.release for r in TABLE if r.opset >= opset and r.ir >= ir), TABLE[-1].release)


def runtime_range(model: Path, narrower: str = "") -> str:
    """Versions of onnxruntime that may load `model`, as `>=1.17`; `narrower`: what its operators ask for, in that form."""
    import onnx

    proto = onnx.load(model, load_external_data=False)
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=1)
    classical = max((o.version for o in proto.opset_import if o.domain == "ai.onnx.ml"), default=0)
    least = max(
        release_for(opset, proto.ir_version),
        CLASSICAL[1] if classical >= CLASSICAL[0] else OLDEST,
        *(_since(node) for node in nodes(proto) if node.domain == "com.microsoft"),
        _parsed(narrower),
    )
    return f">={least[0]}.{least[1]}"


def _since(node: Any) -> tuple[int, int]:
    attributes = {a.name for a in node.attribute}
    given = max((place for place, name in enumerate(node.input, start=1) if name), default=0)
    rows = (r for r in CONTRIBUTED if r.operator == node.op_type)
    return max(
        (r.release for r in rows if (not r.attribute or r.attribute in attributes) and given > r.inputs),
        default=OLDEST,
    )


def _parsed(said: str) -> tuple[int, int]:
    major, _, minor = said.removeprefix(">=").partition(".")
    return (int(major), int(minor)) if minor else OLDEST
