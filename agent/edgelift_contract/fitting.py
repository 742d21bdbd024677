"""Bring a message within the bounds of its type: whoever makes one does so before it is sent.

Numbers go to the nearest end of their range, text is cut and cleaned, lists and dicts lose what is too many. So a board
with a clock, a sensor or a library that gives something odd is heard with that one value changed, rather than refused
whole. Names with a form (`ids`) and choices are left alone: there is no nearest one.

Law: `decode(encode(fit(m))) == fit(m)`, whatever numbers and texts `m` holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from edgelift_contract import codec
from edgelift_contract.text import clean, is_plainly_clean

T = TypeVar("T", bound=msgspec.Struct)

_Fit = Callable[[Any], Any]


def fit(message: T) -> T:
    """`message` within its bounds; the same object where it is already."""
    fitted: T = _fit_struct(type(message))(message)
    return fitted


def decode_clean(data: bytes, kind: type[T], *, what: str, limit_bytes: int = codec.MAX_MESSAGE_BYTES) -> T:
    """A message from outside, its text cleaned once where it comes in. Raises as `codec.decode_json`."""
    message = codec.decode_json(data, kind, what=what, limit_bytes=limit_bytes)
    return message if is_plainly_clean(data) else fit(message)


@cache
def _fit_struct(kind: type) -> _Fit:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    # By name and late: a type may contain itself.
    fits = [(field.name, fit_one) for field in info.fields if (fit_one := _fit_for(field.type)) is not None]

    def fit_fields(message: Any) -> Any:
        changed = {}
        for name, fit_one in fits:
            value = getattr(message, name)
            fitted = fit_one(value)
            if fitted is not value:
                changed[name] = fitted
        return msgspec.structs.replace(message, **changed) if changed else message

    return fit_fields


def _fit_for(info: inspect.Type) -> _Fit | None:
    """How a value of a type is fitted; None where there is nothing to do."""
    if isinstance(info, inspect.Metadata):
        return _fit_for(info.type)
    if isinstance(info, inspect.IntType):
        return _fit_number(info, round)
    if isinstance(info, inspect.FloatType):
        return _fit_number(info, float)
    if isinstance(info, inspect.StrType):
        return _fit_text(info)
    if isinstance(info, inspect.ListType):
        return _fit_list(info)
    if isinstance(info, inspect.DictType):
        return _fit_dict(info)
    if isinstance(info, inspect.StructType):
        return lambda message: _fit_struct(info.cls)(message)
    if isinstance(info, inspect.UnionType):
        return _fit_union(info)
    return None


def _fit_number(info: inspect.IntType | inspect.FloatType, kind: Callable[[float], float]) -> _Fit:
    low = info.ge if info.ge is not None else -math.inf
    high = info.le if info.le is not None else math.inf

    def fit_number(value: Any) -> Any:
        if low <= value <= high:
            return value
        # What is no number at all says nothing: zero, or what is nearest to it.
        return kind(min(max(0.0 if math.isnan(value) else value, low), high))

    return fit_number


def _fit_text(info: inspect.StrType) -> _Fit | None:
    if info.pattern is not None:
        return None
    longest = info.max_length

    def fit_text(value: Any) -> Any:
        cleaned = clean(value)
        return cleaned if longest is None or len(cleaned) <= longest else cleaned[: longest - 1] + "…"

    return fit_text


def _fit_list(info: inspect.ListType) -> _Fit:
    fit_item, longest = _fit_for(info.item_type), info.max_length

    def fit_list(values: Any) -> Any:
        kept = values if longest is None or len(values) <= longest else values[:longest]
        if fit_item is None:
            return kept
        fitted = [fit_item(value) for value in kept]
        return fitted if any(new is not old for new, old in zip(fitted, kept, strict=True)) else kept

    return fit_list


def _fit_dict(info: inspect.DictType) -> _Fit:
    fit_key, fit_value, longest = _fit_for(info.key_type), _fit_for(info.value_type), info.max_length

    def fit_dict(values: Any) -> Any:
        pairs = list(values.items())
        kept = pairs if longest is None else pairs[:longest]
        fitted = [(fit_key(k) if fit_key else k, fit_value(v) if fit_value else v) for k, v in kept]
        same = len(kept) == len(pairs) and all(
            new[0] is old[0] and new[1] is old[1] for new, old in zip(fitted, kept, strict=True)
        )
        return values if same else dict(fitted)

    return fit_dict


def _fit_union(info: inspect.UnionType) -> _Fit | None:
    fits = [(python_type(one), fit_one) for one in info.types if (fit_one := _fit_for(one)) is not None]
    if not fits:
        return None

    def fit_union(value: Any) -> Any:
        return next((fit_one(value) for kind, fit_one in fits if isinstance(value, kind)), value)

    return fit_union


def python_type(info: inspect.Type) -> type:
    """The class whose instances a type describes."""
    if isinstance(info, inspect.Metadata):
        return python_type(info.type)
    if isinstance(info, inspect.StructType):
        return info.cls
    kinds: dict[type, type] = {
        inspect.IntType: int, inspect.FloatType: float, inspect.StrType: str, inspect.ListType: list,
        inspect.DictType: dict,
    }  # fmt: skip
    return kinds[type(info)]
