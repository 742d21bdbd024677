"""What the numbers of a model's inputs and outputs mean, and what else its maker says of it.

    real = number × scale + offset

holds of inputs and outputs alike: `number` is what stands in the tensor, `real` what it means, in `unit`. So a mean is an
offset and a standard deviation a scale, and who fills an input puts in `(real − offset) ÷ scale`. It is told to clients
and applied by nobody here: goldens, evaluation and served tensors are the model's own numbers.

Names and units are one line each, so that a list of names can be told as lines. What may be invisible or turn a line
round is left in them, for some scripts need it; who shows them has it cleaned, as `in_words` has.
"""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Finite
from edgelift_contract.text import clean

#: The most names of classes that a tensor may have; ImageNet's larger list has 21,841.
MAX_LABELS = 65_536
#: The most entries of the free table.
MAX_METADATA = 64

_ONE_LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
Label = Annotated[str, Meta(max_length=256, pattern=rf"^{_ONE_LINE}+\Z")]
Unit = Annotated[str, Meta(max_length=64, pattern=rf"^{_ONE_LINE}*\Z")]
Numbers = Annotated[list[Finite], Meta(max_length=MAX_LABELS)]

MetadataKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
_Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
_Broken = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
MetadataValue = Annotated[str, Meta(max_length=2000)] | bool | _Whole | _Broken
#: A source's free table: what clients are told unread.
Metadata: TypeAlias = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=MAX_METADATA)]


class TensorMeaning(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the numbers of one input or output mean, see the module.

    Attributes:
        labels: names: of the places along `axis`, as classes or features; without an axis of the values themselves, so that
            0 is called `labels[0]` (a class number; a share of yes and no, rounded).
        unit: of `real`, as `°C`; empty for none.
        scale, offset: one number for all, or one for each place along `axis`; empty for 1 and 0.
        axis: along which labels, scale and offset count; None where they count along none.
    """

    labels: Annotated[list[Label], Meta(max_length=MAX_LABELS)] = []
    unit: Unit = ""
    scale: Numbers = []
    offset: Numbers = []
    axis: Annotated[int, Meta(ge=0, le=15)] | None = None


def wrong_with(meaning: TensorMeaning, shape: list[int]) -> str:
    """What does not fit a tensor of this shape, -1 for a free axis; empty where all does. Pure."""
    axis = meaning.axis
    if axis is not None and axis >= len(shape):
        return f"there is no axis {axis} in the shape {shape}"
    length = None if axis is None else shape[axis]
    if meaning.labels and length not in (None, -1, len(meaning.labels)):
        return f"{len(meaning.labels):,} labels for {length:,} places along axis {axis} of the shape {shape}"
    for name, numbers in (("scale", meaning.scale), ("offset", meaning.offset)):
        count = len(numbers)
        if count > 1 and (length is None or length not in (-1, count)):
            along = "no axis along which they count" if length is None else f"{length:,} places along axis {axis}"
            return f"{count:,} numbers of its {name} for {along} of the shape {shape}"
    return "a scale of 0" if 0 in meaning.scale else ""


def in_words(meaning: TensorMeaning, *, most: int = 8) -> list[str]:
    """What it says, a short phrase each, harmless to show; of lists the first `most`."""
    along = "its values" if meaning.axis is None else f"axis {meaning.axis}"
    said = []
    if meaning.labels:
        said.append(f"{len(meaning.labels):,} labels of {along}: {_first(meaning.labels, most)}")
    if meaning.scale or meaning.offset:
        numbers = f"scale {_numbers(meaning.scale, 1, most)}, offset {_numbers(meaning.offset, 0, most)}"
        said.append(f"real = number × scale + offset: {numbers}")
    if meaning.unit:
        said.append(f"in {clean(meaning.unit)}")
    return said


def metadata_text(value: str | float | bool) -> str:
    """A value of the free table, harmless to show: `true`, `0.5`, the text itself."""
    if isinstance(value, bool):
        return str(value).lower()
    return clean(value) if isinstance(value, str) else f"{value:.10g}" if isinstance(value, float) else str(value)


def _numbers(numbers: list[float], default: float, most: int) -> str:
    return _first([f"{number:.6g}" for number in numbers or [default]], most)


def _first(names: list[str], most: int) -> str:
    return ", ".join(clean(name) for name in names[:most]) + (" …" if len(names) > most else "")
