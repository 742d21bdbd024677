"""A converter's exception in the user's terms: which operator, or which construct."""

from __future__ import annotations

import re
from traceback import walk_tb
from typing import NamedTuple

from edgelift_builder.exceptions import summarise
from edgelift_contract.errors import ContractError

#: How converters name an operator that they lack.
_OPERATORS = (
    r"No ONNX function found for <OpOverload\(op='([\w.:]+)'",
    r"[Nn]o (?:lowering|decomposition)[^'\n]*['<]([\w.:]+)",
    r"Lowering not found: ([\w.:]+)",
    r"failed to legalize operation '([\w.]+)'",
)

#: Floats that TFLite's own operators do not compute in, as its converter writes and as people call them.
_NARROW = re.compile(r"tensor<[\dx?]*x(f16|bf16|f64)>")
_FLOATS = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}


class _Known(NamedTuple):
    """What a converter says; what is so, after the name of the format; and what to do about it."""

    pattern: str
    reason: str
    hint: str


_KNOWN = (
    _Known(
        r"complex<f|torch\.complex\d",
        ": it computes in complex numbers",
        "Compute with real and imaginary parts apart (torch.view_as_real).",
    ),
    _Known(
        r"\.numpy\(\) is not supported for tensor subclasses|can't convert .*Tensor.* to numpy",
        ": its forward computes in numpy, where this exporter does not see what is done",
        "Compute with torch's own functions from the first line of forward to its last.",
    ),
    _Known(
        r"Number of input tokens .* does not match output tokens",
        ": it checks values while it runs, as torch.linalg's decompositions and inverses and torch._assert do",
        "Take the check out, or move that part out of the model.",
    ),
    _Known(
        r"data-dependent|GuardOnDataDependent|dynamic control flow|torch\.cond|ConcreteBooleanIndex|Concretization",
        ": its control flow depends on the data",
        "Replace the `if` or loop on tensor values by torch.where or torch.cond.",
    ),
)

_FIXED = r"dynamic_shapes|Constraints violated|specialized"


def explain(error: BaseException, format_name: str) -> ContractError:
    """`unsupported-operator` or `conversion-failed`."""
    own = next((e for e in _chain(error) if isinstance(e, ContractError)), None)
    if own is not None:
        return own
    text = "\n".join(f"{type(e).__name__}: {e}" for e in _chain(error))
    operator = next((found for pattern in _OPERATORS if (found := re.search(pattern, text))), None)
    if operator:
        return _lacking(format_name, operator[1], text)
    cannot = f"The model cannot be exported to {format_name}"
    if _packs(error):
        return ContractError(
            "conversion-failed",
            f"{cannot}: it packs its sequences (pack_padded_sequence).",
            hint="Run the layer over the padded sequences, and take its outputs by their lengths.",
        )
    known = next((one for one in _KNOWN if re.search(one.pattern, text)), None)
    if known:
        return ContractError("conversion-failed", f"{cannot}{known.reason}.", hint=known.hint)
    if re.search(_FIXED, text):
        return fixed_batch(format_name)
    last = list(_chain(error))[-1]
    return ContractError(
        "conversion-failed",
        f"The model could not be converted to {format_name}: {summarise(last)}.",
        hint="Run again with --debug for the converter's own words.",
    )


def fixed_batch(format_name: str) -> ContractError:
    """What is exported takes as many samples as the example alone."""
    return ContractError(
        "conversion-failed",
        f"The model cannot be exported to {format_name} with a free batch axis: it fixes the batch size.",
        hint="Use x.shape[0] or flatten(1) in place of a number written into forward, and no Python loop over samples.",
    )


def _lacking(format_name: str, operator: str, text: str) -> ContractError:
    narrow = _NARROW.search(text) if operator.startswith("tfl.") else None
    if narrow:
        kind = _FLOATS[narrow[1]]
        return ContractError(
            "unsupported-operator",
            f"{format_name} does not compute {operator.removeprefix('tfl.')} in {kind}, as the model does.",
            hint="Give the model and its samples in float32, with model.float().",
        )
    return ContractError(
        "unsupported-operator",
        f"{format_name} has no operator for {operator}, which the model uses.",
        hint="Use operators that are supported in its place, or leave this format out of the recipe.",
    )


def _packs(error: BaseException) -> bool:
    """Did it fail while it packed sequences, or in a layer that was given packed ones."""
    frames = [frame for one in _chain(error) for frame, _ in walk_tb(one.__traceback__)]
    return any(
        frame.f_code.co_name == "pack_padded_sequence"
        or any(type(value).__name__ == "PackedSequence" for value in frame.f_locals.values())
        for frame in frames
    )


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and len(found) < 10:
        found.append(seen)
        seen = seen.__cause__ or seen.__context__
    return found
