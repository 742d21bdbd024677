"""A converter's exception in the user's terms: which operator, or which construct."""

from __future__ import annotations

import re
from traceback import extract_tb

from edgelift_builder.exceptions import summarise
from edgelift_contract.errors import ContractError

#: How converters name an operator that they lack.
_OPERATORS = (
    r"No ONNX function found for <OpOverload\(op='([\w.:]+)'",
    r"[Nn]o (?:lowering|decomposition)[^'\n]*['<]([\w.:]+)",
    r"Lowering not found: ([\w.:]+)",
    r"failed to legalize operation '([\w.]+)'",
)

_BY_DATA = (
    r"data-dependent|GuardOnDataDependent|dynamic control flow|torch\.cond|ConcreteBooleanIndex|Concretization"
)


def explain(error: BaseException, format_name: str) -> ContractError:
    """`unsupported-operator` or `conversion-failed`."""
    text = "\n".join(f"{type(e).__name__}: {e}" for e in _chain(error))
    operator = next((found for pattern in _OPERATORS if (found := re.search(pattern, text))), None)
    if operator:
        return ContractError(
            "unsupported-operator",
            f"{format_name} has no operator for {operator[1]}, which the model uses.",
            hint="Use operators that are supported in its place, or leave this format out of the recipe.",
        )
    cannot = f"The model cannot be exported to {format_name}"
    if re.search(r"complex<f|torch\.complex\d", text):
        return ContractError(
            "conversion-failed",
            f"{cannot}: it computes in complex numbers.",
            hint="Compute with real and imaginary parts apart (torch.view_as_real).",
        )
    if _passed_through(error, "pack_padded_sequence"):
        return ContractError(
            "conversion-failed",
            f"{cannot}: it packs its sequences (pack_padded_sequence).",
            hint="Run the layer over the padded sequences, and take its outputs by their lengths.",
        )
    if re.search(_BY_DATA, text):
        return ContractError(
            "conversion-failed",
            f"{cannot}: its control flow depends on the data.",
            hint="Replace the `if` or loop on tensor values by torch.where or torch.cond.",
        )
    if "dynamic_shapes" in text or "Constraints violated" in text or "specialized" in text:
        return ContractError(
            "conversion-failed",
            f"{cannot} with a free batch axis: it fixes the batch size.",
            hint="Use x.shape[0] or flatten(1) in place of a number written into forward.",
        )
    last = list(_chain(error))[-1]
    return ContractError(
        "conversion-failed",
        f"The model could not be converted to {format_name}: {summarise(last)}.",
        hint="Run again with --debug for the converter's own words.",
    )


def _passed_through(error: BaseException, function: str) -> bool:
    return any(frame.name == function for one in _chain(error) for frame in extract_tb(one.__traceback__))


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and len(found) < 10:
        found.append(seen)
        seen = seen.__cause__ or seen.__context__
    return found
