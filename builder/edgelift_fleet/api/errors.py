"""Refusals as HTTP: every error is `{"error", "code", "hint"}` with a status that says who must act."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, TransportError
from edgelift_contract.fitting import fit
from edgelift_contract.replies import ErrorReply

log = logging.getLogger(__name__)

#: code → status; other codes answer 400 (contract), 503 (transport) or 500 (this machine).
STATUS = {
    "not-authorised": 401,
    "not-found": 404,
    "missing-blob": 404,
    "conflict": 409,
    "blobs-wanted": 409,
    "retired": 409,
    "unreadable-row": 409,
    "revisions-spent": 409,
    "wrong-hardware-class": 409,
    "runtime-missing": 409,
    "too-large": 413,
    "disk-full": 507,
    "busy": 503,
}
_HTTP_CODES = {401: "not-authorised", 404: "not-found", 405: "bad-request", 413: "too-large"}


def status_of(error: EdgeliftError) -> int:
    """The HTTP status of an error."""
    kinds = {ContractError: 400, TransportError: 503, DeviceError: 500}
    return STATUS.get(error.code, next((s for kind, s in kinds.items() if isinstance(error, kind)), 500))


def refusal(status: int, code: str, message: str, hint: str = "", **members: Any) -> Response:
    """The answer to a request that is refused; `members` say more of it."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    body = codec.canonical_json({**msgspec.to_builtins(fit(ErrorReply(message, code, hint))), **members})
    return Response(body, status, headers, "application/json")


def refusal_of(error: EdgeliftError) -> Response:
    """The answer that tells an error."""
    again_s = error.retry_after_s if isinstance(error, TransportError) else 0.0
    members = getattr(error, "members", {})
    made = refusal(429 if again_s else status_of(error), error.code, error.message, error.hint, **members)
    if again_s:
        made.headers["Retry-After"] = str(math.ceil(again_s))
    return made


def fault(method: str, path: str, error: Exception) -> Response:
    """The answer when something broke here; the server's log has the rest."""
    log.error("fault in %s %s", method, path, exc_info=error)
    return refusal(500, "internal", f"A fault in edgelift: {type(error).__name__}.", "See the server's log.")


def add_error_handlers(app: FastAPI) -> None:
    """Make every failure of `app` an `ErrorReply`."""

    async def known(_request: Request, error: Exception) -> Response:
        assert isinstance(error, EdgeliftError)
        return refusal_of(error)

    async def routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _HTTP_CODES.get(error.status_code, "bad-request")
        what = "There is nothing at" if error.status_code == 404 else str(error.detail) + ":"
        return refusal(error.status_code, code, f"{what} {request.method} {request.url.path}.")

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return refusal(400, "malformed", f"The request's {place} is not valid: {first['msg']}.")

    async def unknown(request: Request, error: Exception) -> Response:
        return fault(request.method, request.url.path, error)

    app.add_exception_handler(EdgeliftError, known)
    app.add_exception_handler(HTTPException, routed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unknown)
