"""Messages that msgspec defines, as JSON Schema: what a route takes and what it answers, for its table in OpenAPI."""

from __future__ import annotations

import functools
from typing import Any, get_args

import msgspec

from edgelift_fleet.api.declared import refusals

#: Of every list.
LIST_HEADERS: dict[str, Any] = {
    "Total-Count": {
        "description": "How many there are, on all pages together.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Link": {"description": "The next page, as rel=next; missing on the last.", "schema": {"type": "string"}},
}
_REF = "#/components/schemas/{name}"
_used: dict[str, Any] = {}
#: Names of those in which a field that nobody knows is refused.
_closed: set[str] = set()
#: name → message type, of those that are answered.
_answered: dict[str, Any] = {}


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type; those that it names are collected for the document."""
    schema, components = _described(kind)
    _used.update({name: _portable(found) for name, found in components.items()})
    made: dict[str, Any] = _portable(schema)
    return made


@functools.cache
def _described(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What msgspec says of a type: its schema, and name → schema of those that it names; not to be changed."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema, components


def used_schemas() -> dict[str, Any]:
    """Name → schema of all messages so far."""
    return {
        name: found | {"additionalProperties": False} if name in _closed and "properties" in found else found
        for name, found in _used.items()
    }


def answered() -> dict[str, Any]:
    """Name → message type, of those that are answered so far."""
    return _answered


def takes(kind: Any, *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is `kind` in JSON."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema_of(kind)}}}}


def asks(kind: Any, *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is `kind` in JSON, read by `asked.decode_asked`: no field may be unknown."""
    _closed.update(_described(kind)[1])
    return takes(kind, required=required)


def answers(
    kind: Any, *codes: str, description: str = "Done.", status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route.

    Args:
        kind: what it answers, in JSON.
        codes: of its own refusals; those of every route (`declared.universal`) are left out.
        description: of the answer.
        status: of HTTP.

    Raises:
        ValueError: for a code that is none.
    """
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            _answered[one.__name__] = one
    content = {"application/json": {"schema": schema_of(kind)}}
    return {status: {"description": description, "content": content}, **refusals(codes)}


def answers_list(kind: Any, *codes: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers a page of `kind`; `codes` as of `answers`."""
    made = answers(list[kind], *codes)
    made[200]["headers"] = LIST_HEADERS
    return made


def _portable(schema: Any) -> Any:
    """A schema in which patterns end as JSON Schema's dialect (ECMA 262) has it. Pure."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema
