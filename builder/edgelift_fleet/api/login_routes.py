"""Logging in and out over HTTP, and who one is."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import unkeyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.media import judge_media
from edgelift_fleet.api.misasked import judge_query
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.operators import deed_of, principal_of
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.people import LoggedIn, LoginRequest, Me, OwnPasswordRequest, PersonView
from edgelift_fleet.people.audit import NOBODY

_MAX_LOGIN_BYTES = 4096
#: What a route may refuse with of which nothing is known before: no token says who calls it.
_OF_ANYBODY = (
    "not-authorised", "too-many-tries", "malformed", "too-large", "wrong-media-type", "not-acceptable", "busy",
    "internal", "disk-error", "disk-full", "read-only", "no-memory", "no-descriptors",
)  # fmt: skip


def login_routes(fleet: Fleet) -> APIRouter:
    """Open to everybody: who logs in has no token yet."""
    router = APIRouter(tags=["people"], dependencies=[Depends(judge_media), Depends(judge_query)])

    @router.post(
        "/v1/login",
        openapi_extra=unkeyed("Each login has a token of its own.", asks(LoginRequest)),
        responses=answers(LoggedIn, *_OF_ANYBODY),
    )
    async def login(request: Request) -> Response:
        """Log in by name and password. Answers a token that holds for a while, and is nowhere else from then on. Who fails
        too often must wait, each time for longer.
        """
        asked = decode_asked(await read_body(request, _MAX_LOGIN_BYTES), LoginRequest)
        return answer(await fleet.people.logins.enter(asked, deed_of(request, NOBODY)))

    return router


#: A key is kept beside a quick digest of its request, by which a password could be guessed.
NO_GUESS = "What is kept of a request for its key must not help to guess the password in it."


def me_routes(fleet: Fleet) -> APIRouter:
    """For whoever has come in."""
    router = operator_router(fleet, "people", reads="viewer", changes="viewer")

    @router.get("/v1/me", responses=answers(Me))
    def me(request: Request) -> Response:
        """Who the token is of, with which role, and until when it holds."""
        who = principal_of(request)
        return answer(Me(who.name, who.role, who.expires_at))

    @router.post(
        "/v1/me/password", openapi_extra=unkeyed(NO_GUESS, asks(OwnPasswordRequest)),
        responses=answers(PersonView, "conflict", "too-many-tries"),
    )  # fmt: skip
    async def change_password(request: Request) -> Response:
        """Give oneself another password, by the one that holds now. One's other logins end; who fails often must wait."""
        asked = decode_asked(await read_body(request, _MAX_LOGIN_BYTES), OwnPasswordRequest)
        who = principal_of(request)
        return answer(await fleet.people.change_password(who, asked, deed_of(request, who).address))

    @router.post(
        "/v1/logout",
        openapi_extra=unkeyed("A token that has ended stays so."),
        responses=answers(Me, "conflict"),
    )
    def logout(request: Request) -> Response:
        """End the token that is shown. The site's own can't be ended so."""
        return answer(fleet.people.log_out(principal_of(request)))

    return router
