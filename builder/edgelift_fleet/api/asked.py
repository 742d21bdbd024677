"""What people and their tools ask for: a field that nobody knows is a slip, at whatever depth, and is refused.

What travels between devices and control planes of several releases passes over fields that it does not know; the same
types stand inside requests. There a word that is passed over means that its default holds, and nobody is told.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from edgelift_contract import codec

T = TypeVar("T", bound=msgspec.Struct)


def decode_asked(body: bytes, kind: type[T]) -> T:
    """The body of a request. Raises as `codec.decode_json`; `malformed` also for a field that isn't known."""
    wanted = codec.decode_json(body, kind, what="request")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError) as odd:  # in a field that was passed over
        raise codec.misread(odd, kind, None, what="request") from odd
    if (found := _unknown(inspect.type_info(kind), value, "$")) is not None:
        name, place = found
        where = f" - at `{place}`" if place != "$" else ""
        error = msgspec.ValidationError(f"Object contains unknown field `{name}`{where}")
        raise codec.misread(error, kind, value, what="request")
    return wanted


def _unknown(info: inspect.Type, value: Any, place: str) -> tuple[str, str] | None:
    """The first field that its type does not have, and where that stands, as msgspec writes it."""
    if isinstance(info, inspect.Metadata):
        return _unknown(info.type, value, place)
    if isinstance(info, inspect.UnionType):
        kinds = (inspect.StructType, inspect.ListType, inspect.DictType)
        inner = [one for one in info.types if isinstance(one, kinds)]
        return _unknown(inner[0], value, place) if len(inner) == 1 else None
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in info.fields}
        if odd := [name for name in value if name not in fields]:
            return odd[0], place
        return _first(_unknown(fields[name], one, f"{place}.{name}") for name, one in value.items())
    if isinstance(info, inspect.ListType) and isinstance(value, list):
        return _first(_unknown(info.item_type, one, f"{place}[{n}]") for n, one in enumerate(value))
    if isinstance(info, inspect.DictType) and isinstance(value, dict):
        return _first(_unknown(info.value_type, one, f"{place}[...]") for one in value.values())
    return None


def _first(found: Any) -> tuple[str, str] | None:
    return next((one for one in found if one is not None), None)
