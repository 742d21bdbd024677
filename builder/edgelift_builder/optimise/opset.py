"""Raises an ONNX model to an opset that quantisation has: per-channel scales came with 13.

By onnx's own version converter. What it cannot raise stays as it is, and the step that needed it says so.
"""

from __future__ import annotations

from typing import Any

from edgelift_builder.exceptions import summarise
from edgelift_builder.optimise.unfuse import unfused
from edgelift_contract.errors import ContractError

#: Models below this are raised, and to what: 17 has every operator that onnxruntime.quantization writes, and onnxruntime
#: 1.12 reads it (its docs/Versioning.md).
LEAST, RAISED = 13, 17


def version(model: Any) -> int:
    """The opset of the standard operators; 0 where there are none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def without_initial_inputs(model: Any) -> Any:
    """Constants no longer among the inputs, as files before IR 4 have them: there nothing may be folded."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, 4)
    return model


def raised(model: Any) -> Any:
    """`model` in an opset that has quantisation, its fused operators taken apart; as it is where it is so already.

    Raises:
        ContractError: `conversion-failed` in the converter's words.
    """
    import onnx

    model = without_initial_inputs(model)
    if not 0 < version(model) < LEAST:
        return unfused(model)
    try:
        return unfused(onnx.version_converter.convert_version(model, RAISED))
    except Exception as error:
        raise ContractError(
            "conversion-failed",
            f"The model is of opset {version(model)}, before quantisation, and cannot be raised: {summarise(error)}.",
            hint="Export it again with opset 17 or later.",
        ) from error
