"""What a type takes, in words: "a number above 0 and at most 2,592,000 (seconds)". Pure."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

#: What msgspec calls a JSON type → what people call it.
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "an object", "null": "null",
}  # fmt: skip
_COUNTED = {"str": "characters", "array": "items", "object": "entries"}
#: Longest value that is shown again.
_LONGEST = 60


def kind_in_words(name: str) -> str:
    """A JSON type by the name that msgspec gives it."""
    return _KINDS.get(name, name)


def counted(name: str) -> str:
    """What the length of such a JSON type counts."""
    return _COUNTED.get(name, name)


def number_in_words(value: float) -> str:
    """`2,592,000`, `0.5`, `1e+18`."""
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return f"{int(value):,}" if whole else f"{value:.10g}"


def shown(value: Any) -> str:
    """A value that was given, short and harmless."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        text = number_in_words(value) if isinstance(value, float) or abs(value) < 10**30 else repr(value)
    else:
        text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def span_in_words(
    low: float | None, high: float | None, *, low_open: bool = False, high_open: bool = False
) -> str:
    """Bounds, None for none, as `from 0 to 1`, `above 0 and at most 60`, `at least 1`; an open one is not itself allowed."""
    least = None if low is None else number_in_words(low)
    most = None if high is None else number_in_words(high)
    if least is not None and most is not None and not (low_open or high_open):
        return f"from {least} to {most}"
    lower = "" if least is None else f"above {least}" if low_open else f"at least {least}"
    upper = "" if most is None else f"below {most}" if high_open else f"at most {most}"
    return " and ".join(part for part in (lower, upper) if part)


def asked_of(kind: Any, only: str) -> str:
    """What a type takes.

    Args:
        kind: as `msgspec.inspect` describes it; None for one that isn't known.
        only: of several, the JSON type that was taken for; empty for all.
    """
    parts = [text for one in _flat(kind) if (text := _one(one, only))]
    return " or ".join(dict.fromkeys(parts))


def _flat(kind: Any) -> list[Any]:
    if isinstance(kind, inspect.Metadata):
        return _flat(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [one for part in kind.types for one in _flat(part)]
    return [] if kind is None else [kind]


def _one(kind: Any, only: str) -> str:
    name = next((name for name, types in _NAMES.items() if isinstance(kind, types)), "")
    if not name or (only and name != only):
        return ""
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        low, low_open = (kind.gt, True) if kind.gt is not None else (kind.ge, False)
        high, high_open = (kind.lt, True) if kind.lt is not None else (kind.le, False)
        return f"{_KINDS[name]} {span_in_words(low, high, low_open=low_open, high_open=high_open)}".rstrip()
    if isinstance(kind, inspect.LiteralType):
        return f"one of {', '.join(map(str, kind.values))}"
    lengths = span_in_words(getattr(kind, "min_length", None), getattr(kind, "max_length", None))
    return f"{_KINDS[name]} of {lengths.removeprefix('from ')} {_COUNTED[name]}" if lengths else _KINDS[name]


_NAMES: dict[str, tuple[type, ...]] = {
    "bool": (inspect.BoolType,), "int": (inspect.IntType,), "float": (inspect.FloatType,),
    "str": (inspect.StrType, inspect.LiteralType),
    "array": (inspect.ListType, inspect.VarTupleType, inspect.TupleType, inspect.SetType),
    "object": (inspect.StructType, inspect.DictType), "null": (inspect.NoneType,),
}  # fmt: skip
