"""Refusals in the OpenAPI document: for each status its codes, its body and an example of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgelift_contract.errors import CODES
from edgelift_contract.replies import ErrorReply
from edgelift_fleet.api.declared import CODES_KEY, sentence, status_of_code
from edgelift_fleet.api.schema import schema_of
from edgelift_fleet.messages import Problem

_WHAT = {
    400: "The message is wrong.",
    401: "The token is missing, or another one.",
    404: "What is named does not exist.",
    406: "The answer's form is not accepted.",
    409: "The state of things does not allow it.",
    413: "The body is too large.",
    415: "The body's form is not read here.",
    431: "The address or the headers are too long.",
    429: "Too much was asked at once: later.",
    500: "Something broke on this server.",
    503: "Not now: later.",
    507: "This server's disk is full.",
}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": {"type": "string"}}},
    429: {
        "Retry-After": {"description": "When to come again, seconds.", "schema": {"type": "integer", "minimum": 1}}
    },
}


def problem_answers(codes: Iterable[str], *, operators: bool, parameters: bool) -> dict[str, dict[str, Any]]:
    """Status → response, for a route's codes and what is answered before it is asked."""
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(status_of_code(code), []).append(code)
    if not operators and 503 in by_status:
        by_status[429] = ["busy"]  # with when to come again
    if operators and parameters:
        by_status[431] = ["too-large"]  # of an address: by the connection, before any route is asked
    return {str(status): _answer(status, by_status[status], operators) for status in sorted(by_status)}


def _answer(status: int, codes: list[str], operators: bool) -> dict[str, Any]:
    kind, media = (Problem, "application/problem+json") if operators else (ErrorReply, "application/json")
    schema = {**schema_of(kind), "properties": {"code": {"enum": codes}}}
    examples = {code: {"summary": CODES[code], "value": _example(status, code, operators)} for code in codes}
    made: dict[str, Any] = {
        "description": _WHAT.get(status, "Refused."),
        CODES_KEY: codes,
        "content": {media: {"schema": schema, "examples": examples}},
    }
    return {**made, "headers": _HEADERS[status]} if status in _HEADERS else made


def _example(status: int, code: str, operators: bool) -> dict[str, Any]:
    said = sentence(code)
    older = {"error": said, "code": code, "hint": ""}
    if not operators:
        return older
    return {
        **older, "type": f"/v1/errors/{code}", "title": said, "status": status, "detail": said,
        "instance": "/v1/devices/pi-1",
    }  # fmt: skip
