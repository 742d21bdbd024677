"""People and access tokens over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, carry_out, keyed, unkeyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.login_routes import NO_GUESS
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.operators import principal_of, say_about
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.people import (
    AccessMade,
    AccessRequest,
    AccessView,
    PasswordRequest,
    PersonRemoved,
    PersonRequest,
    PersonView,
    RoleRequest,
)

_LOST = "Its secret is kept nowhere, so that the answer can't be given again: who lost it makes another."
_OF_PERSON = ("bad-id", "not-found", *KEYED)


def people_routes(fleet: Fleet) -> APIRouter:
    """Who may call this side."""
    router = operator_router(fleet, "people", reads="admin", changes="admin")
    people = fleet.people

    @router.get("/v1/people", responses=answers(list[PersonView]))
    def list_people() -> Response:
        """All people, by name."""
        return answer(people.everybody())

    @router.post(
        "/v1/people", openapi_extra=unkeyed(NO_GUESS, asks(PersonRequest)),
        responses=answers(PersonView, "bad-id", "conflict"),
    )  # fmt: skip
    async def add_person(request: Request) -> Response:
        """Add a person, who then may log in."""
        wanted = decode_asked(await read_body(request, MAX_OPERATOR_BYTES), PersonRequest)
        say_about(request, f"person={wanted.name}, role={wanted.role}")
        return answer(await run_in_threadpool(people.add, wanted))

    @router.post(
        "/v1/people/{person}/password", openapi_extra=unkeyed(NO_GUESS, asks(PasswordRequest)),
        responses=answers(PersonView, "bad-id", "not-found"),
    )  # fmt: skip
    async def set_password(person: str, request: Request) -> Response:
        """Give a person another password. Whoever is logged in by the old one is out."""
        wanted = decode_asked(await read_body(request, MAX_OPERATOR_BYTES), PasswordRequest)
        return answer(await run_in_threadpool(people.set_password, person, wanted.password))

    @router.post(
        "/v1/people/{person}/role",
        openapi_extra=keyed(asks(RoleRequest)),
        responses=answers(PersonView, *_OF_PERSON),
    )
    async def set_role(person: str, request: Request) -> Response:
        """Give a person another role. A lesser one holds for all their tokens at once; a higher one from the next login."""
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, RoleRequest)
        say_about(request, f"role={wanted.role}")
        return await carry_out(request, body, lambda on: people.set_role(person, wanted.role, on))

    @router.post("/v1/people/{person}/disable", openapi_extra=keyed(), responses=answers(PersonView, *_OF_PERSON))
    async def disable_person(person: str, request: Request) -> Response:
        """Shut a person out: neither the password nor any token that is theirs or that they made lets anybody in."""
        return await carry_out(request, b"", lambda on: people.set_disabled(person, True, on))

    @router.post("/v1/people/{person}/enable", openapi_extra=keyed(), responses=answers(PersonView, *_OF_PERSON))
    async def enable_person(person: str, request: Request) -> Response:
        """Let a person in again."""
        return await carry_out(request, b"", lambda on: people.set_disabled(person, False, on))

    @router.delete("/v1/people/{person}", openapi_extra=keyed(), responses=answers(PersonRemoved, *_OF_PERSON))
    async def remove_person(person: str, request: Request) -> Response:
        """Remove a person, and all tokens that are theirs or that they made."""
        return await carry_out(request, b"", lambda on: people.remove(person, on))

    @router.get("/v1/access-tokens", responses=answers(list[AccessView]))
    def list_access() -> Response:
        """All access tokens, the newest first, without their secrets; not those of people's logins."""
        return answer(people.access())

    @router.post(
        "/v1/access-tokens", openapi_extra=unkeyed(_LOST, asks(AccessRequest)),
        responses=answers(AccessMade, "not-found", "conflict"),
    )  # fmt: skip
    async def make_access(request: Request) -> Response:
        """Make a token for a program, with a role of its own. Its secret is in this answer and nowhere else."""
        wanted = decode_asked(await read_body(request, MAX_OPERATOR_BYTES), AccessRequest)
        made = await run_in_threadpool(people.make_access, wanted, principal_of(request))
        say_about(request, f"access={made.id}, role={made.role}, person={wanted.person}".removesuffix(", person="))
        return answer(made)

    @router.delete(
        "/v1/access-tokens/{access}", openapi_extra=unkeyed("A token that was taken back stays so."),
        responses=answers(AccessView, "not-found"),
    )  # fmt: skip
    def revoke_access(access: str) -> Response:
        """Take an access token back: nobody comes in by it any more."""
        return answer(people.revoke(access))

    return router
