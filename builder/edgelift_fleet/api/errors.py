"""Refusals as HTTP: what is answered when something is refused or breaks, with a status that says who must act.

Operators and their tools get RFC 9457's `application/problem+json`. Devices get its three members that are older, as
plain JSON: an agent believes only what calls itself so, and one that was built before this must still believe it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from edgelift_contract import codec
from edgelift_contract.errors import EdgeliftError, TransportError
from edgelift_contract.fitting import fit
from edgelift_contract.replies import ErrorReply
from edgelift_fleet.api.allowed import allowed_methods
from edgelift_fleet.api.declared import is_declared, sentence, status_of_code
from edgelift_fleet.api.head import OnlyHeaders
from edgelift_fleet.api.limits import connection_of
from edgelift_fleet.api.misasked import explain
from edgelift_fleet.happened import REFUSED
from edgelift_fleet.messages import Problem
from edgelift_fleet.suspicions import SUSPICIONS

log = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
_LONGEST_INSTANCE = 1000
#: Agents up to 0.1 read 4096 bytes of a refusal, and believe none that is longer; a character may take four.
_LONGEST_ERROR, _LONGEST_HINT = 700, 300


def status_of(error: EdgeliftError) -> int:
    """The HTTP status of an error."""
    again = isinstance(error, TransportError) and error.retry_after_s
    return 429 if again else status_of_code(error.code)


def refusal(status: int, code: str, message: str, hint: str = "") -> Response:
    """The answer to a device's request that is refused."""
    REFUSED.add("devices", code)
    short = ErrorReply(message[:_LONGEST_ERROR], code, hint[:_LONGEST_HINT])
    return _made(status, fit(short), "application/json")


def problem(
    request: Request,
    status: int,
    code: str,
    message: str,
    hint: str = "",
    members: Mapping[str, Any] | None = None,
) -> Response:
    """The answer to an operator's request that is refused; `members` are further ones of its body (RFC 9457 §3.2)."""
    REFUSED.add("operators", code)
    path = quote(request.url.path, safe="/:@!$&'()*+,;=~-._")
    told = Problem(
        message, code, hint, type=f"/v1/errors/{code}", title=sentence(code), status=status,
        detail=message, instance=path if len(path) <= _LONGEST_INSTANCE else "",
    )  # fmt: skip
    return _made(status, {**(members or {}), **msgspec.to_builtins(fit(told))}, PROBLEM)


def _made(status: int, reply: ErrorReply | dict[str, Any], media: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(codec.canonical_json(reply), status, headers, media)


def refusal_of(error: EdgeliftError) -> Response:
    """The answer that tells a device an error."""
    return _again(refusal(status_of(error), error.code, error.message, error.hint), error)


def _again(made: Response, error: EdgeliftError) -> Response:
    if isinstance(error, TransportError) and error.retry_after_s:
        made.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return made


def note_undeclared(route: object, method: str, path: str, code: str) -> None:
    """Leave a line in the log when a route refuses with a code that it does not declare: the document is wrong then, and
    the tests fail on it.
    """
    if not is_declared(route, code):
        log.error("undeclared refusal code=%s of %s %s", code, method, path)


def fault(method: str, path: str, error: Exception) -> tuple[int, str, str, str]:
    """Status, code, sentence and hint when something broke here; the server's log has the rest."""
    log.error("fault in %s %s", method, path, exc_info=error)
    return 500, "internal", f"A fault in edgelift: {type(error).__name__}.", "See the server's log."


def add_error_handlers(app: FastAPI, methods: Mapping[str, Collection[str]]) -> None:
    """Make every failure of `app` a `Problem`; `methods` are those that each path takes, for whoever takes another."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, EdgeliftError)
        note_undeclared(request.scope.get("route"), request.method, request.url.path, error.code)
        if error.code == "not-authorised" and connection_of(request.scope).certificate:
            address = request.client.host if request.client else ""
            SUSPICIONS.note(
                address, error.code, f"A device asked for what operators may: {request.url.path[:200]}."
            )
        members = getattr(error, "members", None)
        return _again(problem(request, status_of(error), error.code, error.message, error.hint, members), error)

    async def routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _not_routed(methods, request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        wrong, hint = explain(request.scope.get("route"), error.errors()[0])
        return problem(request, 400, "malformed", wrong, hint)

    async def unknown(request: Request, error: Exception) -> Response:
        if isinstance(error, OnlyHeaders):
            return Response()  # its answer has begun, and is over
        return problem(request, *fault(request.method, request.url.path, error))

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody is there to read it

    app.add_exception_handler(EdgeliftError, known)
    # By its own name: what is handled as `Exception` is raised once more, and each such connection left 70 lines in the log.
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, routed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unknown)


def _not_routed(methods: Mapping[str, Collection[str]], request: Request, error: HTTPException) -> Response:
    """No route takes this request: its path is none, or is one for other methods, of operators' or of devices' calls."""
    allowed = allowed_methods(methods, request.url.path)
    given = (error.headers or {}).get("Allow", "")
    if not (allowed or given):
        hint = "See GET /openapi.json for what there is."
        return problem(request, 404, "not-found", f"There is nothing at {request.url.path}.", hint)
    names = ", ".join(allowed) or given
    if error.status_code not in (404, 405):
        return problem(request, error.status_code, "malformed", f"{error.detail}.")
    made = problem(
        request, 405, "wrong-method", f"{request.url.path} takes no {request.method}.", f"It takes {names}."
    )
    made.headers["Allow"] = names
    return made
