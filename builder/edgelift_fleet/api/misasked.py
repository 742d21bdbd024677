"""Why a request's address is not understood, in words: which part of it, what was given, in which bounds, what to do.

FastAPI judges addresses by pydantic, which names the first bound that does not hold; the others are those of the route.
Bodies are judged by `edgelift_contract.codec`, in the same words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from starlette.requests import Request

from edgelift_contract.bounds_in_words import counted, kind_in_words, shown, span_in_words
from edgelift_contract.errors import ContractError

#: pydantic's kinds of errors → what is wrong.
_WRONG: Mapping[str, str] = {
    "less_than_equal": "is too large", "less_than": "is too large", "greater_than_equal": "is too small",
    "greater_than": "is too small", "int_parsing_size": "is too large", "finite_number": "is no number",
    "string_too_long": "is too long", "string_too_short": "is too short", "literal_error": "is none of its words",
}  # fmt: skip
#: How numbers are written in an address, as in JSON but for what is no finite number: pydantic says that better. It takes
#: more (`1_0`, ` 10`, `+10`, `1.0` for a whole number), which a slip may have made of something else.
_PLAIN = {
    "int": re.compile(r"-?[0-9]+\Z"),
    "float": re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|nan|inf|infinity)\Z", re.IGNORECASE),
}
_KINDS = {bool: "bool", int: "int", float: "float", str: "str", list: "array"}


async def judge_query(request: Request) -> None:
    """A dependency of FastAPI: judges the names in a request's address. A slip in one must not do something else instead, as
    `?dryrun=true` would delete; and of two values nobody knows which was meant.

    Raises:
        ContractError: `malformed`.
    """
    if not request.url.query:
        return
    fields = dict(_fields(request.scope.get("route"), "query"))
    names = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in names.items():
        if name not in fields:
            known = ", ".join(fields)
            raise ContractError(
                "malformed", f"The request is not valid: nothing is called `{name[:60]}` in its address.",
                hint=f"It may have {known}." if known else "It takes nothing there.",
            )  # fmt: skip
        if times > 1 and _kind(fields[name]) != "array":
            raise ContractError(
                "malformed", f"The request is not valid: `{name}` in its address comes {times} times.",
                hint="Say it once.",
            )  # fmt: skip
    for name, value in request.query_params.multi_items():
        form = _PLAIN.get(_kind(fields[name]))
        if form is not None and not form.match(value):
            part = f"`{name[:60]}` in its address"
            raise ContractError(
                "malformed",
                f"The request is not valid: {part} is {shown(value)}, which is not {kind_in_words(_kind(fields[name]))}.",
                hint=_hint(fields[name]),
            )


def explain(route: object, error: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong, as a sentence, and what to do.

    Args:
        route: FastAPI's, that was asked.
        error: the first of pydantic's.
    """
    where, name = str(error["loc"][0]), str(error["loc"][1]) if len(error["loc"]) > 1 else ""
    fields = dict(_fields(route, where))
    part = f"`{name[:60]}` in its {'path' if where == 'path' else 'address'}"
    if error["type"] == "missing":
        return f"The request is not valid: {part} is missing.", _hint(fields.get(name))
    if error["type"] == "too_long":
        ctx = error.get("ctx", {})
        return f"The request is not valid: {part} comes {ctx.get('actual_length')} times.", _hint(fields.get(name))
    wrong = _WRONG.get(str(error["type"]))
    if wrong is None:
        kind = _kind(fields[name]) if name in fields else ""
        wrong = f"is not {kind_in_words(kind)}" if kind else f"is not as it must be ({error['msg']})"
    return f"The request is not valid: {part} is {shown(error['input'])}, which {wrong}.", _hint(fields.get(name))


def _fields(route: object, where: str) -> Iterator[tuple[str, Any]]:
    """Name → pydantic's `FieldInfo`, of what may stand there."""
    dependant = getattr(route, "dependant", None)
    for one in getattr(dependant, f"{where}_params", ()):
        kind = one.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from ((field.alias or name, field) for name, field in kind.model_fields.items())
        else:
            yield one.alias, one.field_info


def _types(field: Any) -> list[Any]:
    """The types that a field takes, but for None."""
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        return [one for one in get_args(kind) if one is not type(None)]
    return [kind]


def _kind(field: Any) -> str:
    first = _types(field)[0]
    return _KINDS.get(get_origin(first) or first, "")


def _hint(field: Any) -> str:
    if field is None:
        return ""
    first, kind = _types(field)[0], _kind(field)
    if get_origin(first) is Literal:
        return f"Write one of {', '.join(map(str, get_args(first)))}."
    bounds = {name: getattr(one, name) for one in field.metadata for name in _BOUNDS if hasattr(one, name)}
    if kind in ("int", "float"):
        low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
        span = span_in_words(low, high, low_open="gt" in bounds, high_open="lt" in bounds)
        return f"Give {kind_in_words(kind)} {span}".rstrip() + "."
    lengths = span_in_words(bounds.get("min_length"), bounds.get("max_length"))
    if kind == "array":
        return f"Name {lengths}." if lengths else ""
    more = f" of {lengths.removeprefix('from ')} {counted(kind)}" if lengths else ""
    return f"Give {kind_in_words(kind)}{more}." if kind else ""


_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length")
