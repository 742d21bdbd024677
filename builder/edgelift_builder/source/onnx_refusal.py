"""Why onnxruntime does not open an ONNX file, in the terms of who wrote it."""

from __future__ import annotations

import re

from edgelift_builder.exceptions import summarise
from edgelift_builder.source.onnx_walk import OLDEST_OPSET
from edgelift_contract.errors import ContractError

_UNKNOWN = re.compile(r"Fatal error: ([\w.]*):(\w+)\(-?\d+\) is not a registered|No [Oo]p registered for (\w+)")
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\(\d+\)(?: node with name '([^']*)')?")
_BAD_TYPE = re.compile(r"Type '(tensor\([^']*\))' of input parameter \(([^)]*)\) of operator \((\w+)\)")
_OPSET = re.compile(r"Opset (\d+) is under development.*?up to (?:opset )?(\d+)|Opset (\d+) is under development")


def not_opened(name: str, error: BaseException, opset: int) -> ContractError:
    """Onnxruntime's refusal of the file `name`, which is of that opset: `load-failed` or `unsupported-operator`."""
    text = str(error)
    if found := _UNKNOWN.search(text):
        operator = f"{found[1]}.{found[2]}".lstrip(".") if found[2] else found[3]
        return ContractError(
            "unsupported-operator",
            f"{name} uses the operator {operator}, which onnxruntime does not have.",
            hint="Export it with standard operators: libraries of operators are not shipped to devices.",
        )
    if found := _NO_KERNEL.search(text):
        node = f" (node {found[2]})" if found[2] else ""
        if 0 < opset < OLDEST_OPSET:
            return ContractError(
                "unsupported-operator",
                f"{name} is of opset {opset}, and onnxruntime has {found[1]}{node} from {OLDEST_OPSET} on.",
                hint=f"Export it with opset {OLDEST_OPSET} or later; raising this one failed.",
            )
        return ContractError(
            "unsupported-operator",
            f"onnxruntime cannot compute {found[1]}{node} of {name} on a processor for the types that it is given there.",
            hint="Export it in float32, or without that operator.",
        )
    if found := _BAD_TYPE.search(text):
        return ContractError(
            "source-invalid",
            f"{name} gives the operator {found[3]} a {found[1]} as {found[2]}, which it does not take.",
            hint="Export it in float32.",
        )
    if found := _OPSET.search(text):
        return too_new(name, f"opset {found[1] or found[3]}")
    return ContractError("load-failed", f"onnxruntime cannot open {name}: {summarise(error)}.")


def too_new(name: str, what: str) -> ContractError:
    """The file `name` is of a later `what` than is known here."""
    return ContractError(
        "load-failed",
        f"{name} is of {what}, which the onnxruntime of this machine does not read yet.",
        hint="Export it with an older opset.",
    )
