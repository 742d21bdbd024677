"""Changes on conditions, by headers: `Idempotency-Key` (done once, whoever asks again) and `If-Match` (as it was read)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_fleet.api.etags import read_tags
from edgelift_fleet.api.operators import ASKS, LEAST, least_of, operators_of
from edgelift_fleet.conditions import AnsweredBefore, Conditions
from edgelift_fleet.people.roles import ROLES

#: Codes by which a change that takes a key is refused, and one that takes a tag too.
KEYED = ("key-reused",)
MATCHED = (*KEYED, "changed-meanwhile")
_JSON = "application/json"
_KEY_HEADER = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "The same request with the same key again is answered alike, and nothing is done twice.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}  # fmt: skip
_MATCH_HEADER = {
    "name": "If-Match", "in": "header", "required": False,
    "description": "An ETag of what is to be changed: nothing is done if others changed it since.",
    "schema": {"type": "string", "pattern": '^"[a-z0-9-]{1,64}"$'},
}  # fmt: skip
#: Member of an operation that takes no key though its method is a change's: why it needs none.
NO_KEY = "x-no-idempotency-key"
#: What has an ETag with a version: whatever changes something below takes `If-Match` as well.
VERSIONED = (
    "/v1/devices/{device}", "/v1/devices/{device}/bundles/{bundle}", "/v1/releases/{name}/{version}",
    "/v1/rollouts/{rollout}",
)  # fmt: skip
_KEY = re.compile(r"^[\x21-\x7e]{1,255}\Z")


def keyed(table: dict[str, Any] | None = None, *, match: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a route that makes a change on conditions.

    Args:
        table: what else it says.
        match: it takes `If-Match` as well.
    """
    return {**(table or {}), "parameters": [_KEY_HEADER, *([_MATCH_HEADER] if match else [])]}


def unkeyed(why: str, table: dict[str, Any] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that may be asked twice as it is, though its method isn't GET.

    Args:
        why: as a sentence, for the document.
        table: what else it says.
    """
    return {**(table or {}), NO_KEY: why}


def asking(table: dict[str, Any] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that only asks, though its method isn't GET; `table` is what else it says."""
    return {**unkeyed("It asks, and changes nothing.", table), ASKS: True}


def needing(least: str, table: dict[str, Any] | None = None) -> dict[str, Any]:
    """`openapi_extra` of a route that needs another role than its router's others; `table` is what else it says."""
    return {**(table or {}), LEAST: least}


class OperatorRoute(APIRoute):
    """A route of the operators' side. It is refused at the start unless the least role is said that may call it; and one
    that changes something unless it takes a key, or says why it needs none, and takes an ETag where what it changes has one.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods, extra = options.get("methods") or (), options.get("openapi_extra") or {}
        operators = operators_of(options.get("dependencies") or ())
        least = least_of(operators, methods, extra)
        wrong = missing_conditions(path, methods, extra)
        if not wrong and (operators is None or least not in ROLES):
            wrong = "say who may call it (`operator_router`, `needing`)"
        if wrong:
            raise ValueError(f"{path}: {wrong}; see api/conditional.py")
        self._operators = operators
        super().__init__(path, endpoint, **{**options, "openapi_extra": {**extra, LEAST: least}})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As its base's, with what came of a change in the log."""
        operators, inner = self._operators, super().get_route_handler()
        assert operators is not None

        async def handle(request: Request) -> Response:
            return await operators.answer(request, inner)

        return handle


def missing_conditions(path: str, methods: Collection[str], extra: Mapping[str, Any]) -> str:
    """What a route lacks of the conditions that a change must take; empty for nothing. Pure."""
    if set(methods) <= {"GET", "HEAD"} or extra.get(NO_KEY):
        return ""
    taken = {parameter["name"] for parameter in extra.get("parameters", ())}
    if "Idempotency-Key" not in taken:
        return "a change takes an Idempotency-Key (`keyed`), or says why it needs none (`unkeyed`)"
    if path.startswith(VERSIONED) and "If-Match" not in taken:
        return "what it changes has an ETag: take If-Match (`match=True`)"
    return ""


def conditions_of(request: Request, body: bytes) -> Conditions:
    """What a request says of when it is to be carried out.

    Raises:
        ContractError: `malformed` for a header that is none.
    """
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1:
        raise ContractError("malformed", "The Idempotency-Key comes twice.", hint="Give the request one.")
    if keys and not _KEY.match(keys[0]):
        raise ContractError(
            "malformed", "The Idempotency-Key is not 1 to 255 printable characters without spaces."
        )
    key = keys[0] if keys else ""
    seen: tuple[str, ...] = ()
    if headers := request.headers.getlist("if-match"):
        tags = read_tags(", ".join(headers))
        if tags is None:
            raise ContractError(
                "malformed", "The If-Match names no ETag.", hint='Write the ETag as it came, in "".'
            )
        seen = tuple(tag.partition("-")[0] for tag in tags) or (
            "none",
        )  # a weak tag matches nothing (RFC 9110 §13.1.1)
    asked = (request.method, request.url.path, request.url.query, codec.digest(body))
    return Conditions(key, codec.digest(codec.canonical_json(asked)), seen)


async def carry_out(request: Request, body: bytes, do: Callable[[Conditions], Any]) -> Response:
    """Make a change, on a thread, on its request's conditions.

    Args:
        request: which asks for it.
        body: of the request.
        do: makes it and returns what is answered.

    Raises:
        ContractError: `malformed`, and what `do` raises.
    """
    on = conditions_of(request, body)
    try:
        made = codec.canonical_json(await run_in_threadpool(do, on))
    except AnsweredBefore as before:
        return Response(before.body, headers={"Idempotent-Replayed": "true"}, media_type=_JSON)
    return Response(made, media_type=_JSON)
