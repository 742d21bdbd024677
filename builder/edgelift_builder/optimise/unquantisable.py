"""Why nothing in an ONNX graph could be quantised, as a refusal that a person can act on."""

from __future__ import annotations

from typing import Any

from edgelift_builder.optimise import prepare
from edgelift_contract.errors import ContractError

#: What scikit-learn's models become in the domain ai.onnx.ml: how an operator's name begins → what it is.
_CLASSICAL = {"Tree": "trees", "Linear": "linear models", "SVM": "support vector machines"}


def classical(graph: Any) -> ContractError | None:
    """The refusal for trees and their like, which have no tensors of weights; None where there are none of them."""
    found = [node.op_type for node in graph.node if node.domain == "ai.onnx.ml"]
    kinds = [kind for kind in dict.fromkeys(found) if kind.startswith(tuple(_CLASSICAL))]
    if not kinds:
        return None
    words = " and ".join(what for start, what in _CLASSICAL.items() if any(k.startswith(start) for k in kinds))
    return ContractError(
        "conversion-failed",
        f"{words.capitalize()} ({', '.join(kinds)}) hold no tensors of weights that 8 bits could store, so the model "
        "ships in float.",
    )


def statically(graph: Any) -> ContractError:
    """The refusal for a graph in which static int8 quantised nothing."""
    heavy = prepare.left_float(graph)
    said = f"its heavy operators stay float: {shortened(heavy)}" if heavy else "it has no layer with weights"
    return classical(graph) or ContractError(
        "conversion-failed",
        f"Nothing in the graph can be quantised statically; {said}.",
        hint="Use dynamic-int8-onnx, which quantises LSTM, or weight-only, which stores the weights of any layer."
        if heavy
        else "Leave it in float.",
    )


def shortened(names: list[str]) -> str:
    """The first four, and whether there are more."""
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
