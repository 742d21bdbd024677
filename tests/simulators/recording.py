"""Writes and reads one message of each kind, by whichever release's contract Python finds: run as a program.

    python recording.py write          → JSON on standard output: kind → {"full": …, "least": …}
    python recording.py read < FILE    → JSON: kind → why it can't be read, or what is lost in reading it

It needs the standard library, msgspec and a contract, and nothing that came later than the oldest of them. *Full* has
a value in every field that is not the field's default, *least* those alone that must be there. What a release wrote stands
in `tests/vectors/released`.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

#: Texts of which one fits every pattern of the contract.
TEXTS = ("digits", "2", "9f" * 32, "0f" * 16, "image/root.json", "https://farm:8470", "text")


def kinds() -> dict[str, type[msgspec.Struct]]:
    """Every message that the contract has, by its name."""
    import edgelift_contract

    for module in pkgutil.iter_modules(edgelift_contract.__path__):
        importlib.import_module(f"edgelift_contract.{module.name}")
    found = [kind for kind in _subclasses(msgspec.Struct) if kind.__module__.startswith("edgelift_contract.")]
    return {kind.__name__: kind for kind in found if not kind.__name__.startswith("_")}


def _subclasses(base: type) -> Iterator[type[msgspec.Struct]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def make(kind: type[msgspec.Struct], *, full: bool) -> Any:
    """A message as plain JSON values."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    schema = getattr(kind, "SCHEMA", None)
    if info.array_like:
        return [_value(field.type, field.default, full=full) for field in info.fields]
    made = {}
    for field in info.fields:
        if field.name == "schema" and schema is not None:
            made[field.encode_name] = schema
        elif full or field.required:
            made[field.encode_name] = _value(field.type, field.default, full=full)
    return made


def _value(info: inspect.Type, default: Any, *, full: bool) -> Any:
    if isinstance(info, inspect.Metadata):
        return _value(info.type, default, full=full)
    if isinstance(info, inspect.BoolType):
        return default is not True
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _number(info, default)
    if isinstance(info, inspect.StrType):
        fits = [
            text for text in TEXTS if re.search(info.pattern or "", text) and len(text) <= (info.max_length or 99)
        ]
        return next(text for text in fits if text != default)
    if isinstance(info, inspect.BytesType):
        return "AQI="
    if isinstance(info, inspect.LiteralType):
        return next(value for value in reversed(info.values) if value != default)
    if isinstance(info, inspect.ListType):
        return [_value(info.item_type, None, full=full) for _ in range(max(1, info.min_length or 0))]
    if isinstance(info, inspect.VarTupleType | inspect.TupleType):
        items = info.item_types if isinstance(info, inspect.TupleType) else [info.item_type]
        return [_value(one, None, full=full) for one in items]
    if isinstance(info, inspect.DictType):
        return {str(_value(info.key_type, None, full=full)): _value(info.value_type, None, full=full)}
    if isinstance(info, inspect.UnionType):
        return _value(next(one for one in info.types if not isinstance(one, inspect.NoneType)), default, full=full)
    if isinstance(info, inspect.StructType):
        return make(info.cls, full=full)
    return "text"


def _number(info: Any, default: Any) -> float:
    low = info.ge if info.ge is not None else info.gt if info.gt is not None else -9
    high = info.le if info.le is not None else info.lt if info.lt is not None else 9
    whole = isinstance(info, inspect.IntType)
    wanted = (3, 2, low, high) if whole else (0.5, 0.25, low, high)
    return next(value for value in wanted if low <= value <= high and value != default)


def read(messages: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is wrong with messages of another release, by kind; empty where nothing is. Kinds not known here are left out."""
    known, wrong = kinds(), {}
    for name, variants in messages.items():
        for variant, message in variants.items():
            if name in known and (why := _why(known[name], message, whole=variant == "full")):
                wrong[f"{name}, {variant}"] = why
    return wrong


def _why(kind: type[msgspec.Struct], message: Any, *, whole: bool) -> str:
    try:
        found = msgspec.json.decode(json.dumps(message).encode(), type=kind)
    except msgspec.MsgspecError as error:
        return str(error)
    again = msgspec.json.decode(msgspec.json.encode(found))
    if not whole or not isinstance(message, dict):
        return ""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    lost = [name for name in message if name in known and _cut(message[name], again.get(name)) != again.get(name)]
    return f"{', '.join(lost)}: lost in reading it" if lost else ""


def _cut(value: Any, like: Any) -> Any:
    """A value without the fields that its reader doesn't know."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: _cut(one, like.get(key)) for key, one in value.items() if key in like}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [_cut(one, other) for one, other in zip(value, like)]  # noqa: B905 - their lengths are compared above
    return value


def main() -> None:
    """See the module."""
    if sys.argv[1] == "write":
        made = {
            name: {"full": make(kind, full=True), "least": make(kind, full=False)}
            for name, kind in sorted(kinds().items())
        }
        sys.stdout.write(json.dumps(made, indent=1, sort_keys=True) + "\n")
    else:
        sys.stdout.write(json.dumps(read(json.load(sys.stdin)), indent=1) + "\n")


if __name__ == "__main__":
    main()
