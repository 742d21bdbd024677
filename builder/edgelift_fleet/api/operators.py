"""Who may call the operators' side: by the site's own token, or by an access token whose role is enough; and each change
that is asked for is logged before it is made, see `people.audit`.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect, HTTPConnection

from edgelift_contract.errors import ContractError, EdgeliftError, TransportError
from edgelift_contract.text import clean
from edgelift_fleet.api.guard import bearer_of
from edgelift_fleet.api.limits import connection_of
from edgelift_fleet.people.access import looks_like_access
from edgelift_fleet.people.audit import DONE, NOBODY, Deed, check_why
from edgelift_fleet.people.directory import People
from edgelift_fleet.people.roles import OWNER, Principal

log = logging.getLogger(__name__)

#: Member of an operation: the least role that may call it.
LEAST = "x-least-role"
#: Member of an operation that changes nothing though its method is a change's.
ASKS = "x-asks"
#: Header of a request that changes something: why, percent-encoded UTF-8.
REASON = "Edgelift-Reason"
_NO_TOKEN = "Log in: edgelift login URL; or show the site's own: secrets/operator-token."  # noqa: S105 - a sentence


class Operators(HTTPBearer):
    """A dependency of FastAPI: lets a request in by its token, if its role is enough for the route; draws itself in OpenAPI.

    Attributes:
        reads, changes: the least role of routes that read and that change, unless they say another.
    """

    def __init__(self, people: People, site_token: str, *, reads: str, changes: str) -> None:
        super().__init__(auto_error=False, scheme_name="operator-token")
        self._people, self._site_token = people, site_token.encode()
        self.reads, self.changes = reads, changes

    async def __call__(self, request: HTTPConnection) -> None:
        """Judge one request, and log what it is about to change.

        Raises:
            TransportError: `not-authorised`. ContractError: `role-too-low`, `malformed` for a reason that is none.
            EdgeliftError: the database's.
        """
        route = request.scope["route"]
        extra = getattr(route, "openapi_extra", None) or {}
        logged = is_logged(request.scope["method"], extra)
        deed = deed_of(request, NOBODY)
        try:
            who = await self._principal(request)
        except TransportError as refused:
            if logged and refused.code == "not-authorised":
                await _noted(self._people.audit.refuse, deed, refused.code)
            raise
        connection_of(request.scope).let_in()
        deed = deed_of(request, who)
        try:
            who.require(extra[LEAST])
            check_why(
                deed.why
            )  # only of whoever may come in: one that is too long must keep no refusal out of the log
        except ContractError as refused:
            if logged:
                await _noted(self._people.audit.refuse, deed, refused.code)
            raise
        request.state.principal = who
        if logged:
            request.state.begun = (deed, await run_in_threadpool(self._people.audit.begin, deed))

    async def _principal(self, request: HTTPConnection) -> Principal:
        given = bearer_of(request.scope)
        if not given:
            raise TransportError("not-authorised", "This needs a token as bearer; none was given.", hint=_NO_TOKEN)
        if hmac.compare_digest(given.encode("latin-1"), self._site_token):
            return OWNER
        if not looks_like_access(given):
            raise TransportError("not-authorised", "The token is none of this site's.", hint=_NO_TOKEN)
        found = self._people.known.at_hand(given)
        if found is None:
            found = await run_in_threadpool(self._people.known.look_up, given)
        return found

    async def answer(self, request: Request, inner: Callable[[Request], Awaitable[Response]]) -> Response:
        """Have a request answered, and log what came of it, if it was about to change something. Raises as `inner`."""
        outcome = "internal"
        try:
            response = await inner(request)
            outcome = DONE
        except EdgeliftError as error:
            outcome = error.code
            raise
        except RequestValidationError:
            outcome = "malformed"
            raise
        except ClientDisconnect:
            outcome = "cut-short"
            raise
        finally:
            if begun := getattr(request.state, "begun", None):
                deed, number = begun
                more = getattr(request.state, "about", "")
                deed = replace(deed, about=", ".join(one for one in (deed.about, more) if one))
                await _noted(self._people.audit.end, deed, number, outcome)
        return response


async def _noted(write: Callable[..., None], *what: Any) -> None:
    """What can't be written is told in the server's log: the request is answered as it is without."""
    try:
        await run_in_threadpool(write, *what)
    except EdgeliftError as error:
        log.warning("not in the audit log code=%s %s", error.code, error.message)


def operators_of(dependencies: Sequence[Any]) -> Operators | None:
    """What lets requests in, among a route's dependencies."""
    return next((one.dependency for one in dependencies if isinstance(one.dependency, Operators)), None)


def least_of(operators: Operators | None, methods: Collection[str], extra: Mapping[str, Any]) -> str:
    """The least role that may call a route; empty where nobody said. Pure."""
    if LEAST in extra:
        return str(extra[LEAST])
    if operators is None:
        return ""
    return operators.reads if set(methods) <= {"GET", "HEAD"} or extra.get(ASKS) else operators.changes


def is_logged(method: str, extra: Mapping[str, Any]) -> bool:
    """Does a request change something? Pure."""
    return method not in ("GET", "HEAD") and not extra.get(ASKS)


def deed_of(request: HTTPConnection, who: Principal) -> Deed:
    """A request as it is logged: no query, no body, no header but the reason."""
    scope = request.scope
    about = ", ".join(f"{name}={value}" for name, value in request.path_params.items())
    address = request.client.host if request.client else ""
    operation = str(getattr(scope.get("route"), "name", ""))
    return Deed(who, address, operation, scope["method"], scope["path"], about, _reason(request))


def _reason(request: HTTPConnection) -> str:
    return clean(unquote(request.headers.get(REASON, ""), errors="replace"))


def say_about(request: Request, about: str) -> None:
    """What of a request's body stands in the log with its outcome: names alone, and nothing that is secret."""
    request.state.about = about


def principal_of(request: Request) -> Principal:
    """Who a request of the operators' side comes from."""
    found: Principal = request.state.principal
    return found
