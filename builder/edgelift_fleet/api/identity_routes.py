"""Who devices are, over HTTP: tokens by which they come, and an end to what they are known by."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import MATCHED, carry_out, keyed, needing, unkeyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.operators import say_about
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.identity import IdentityEnded, TokenMade, TokenRequest, TokenView

_LOST = "Its secret is kept nowhere, so that the answer can't be given again: who lost it makes another."


def identity_routes(fleet: Fleet) -> APIRouter:
    """Tokens and certificates."""
    router = operator_router(fleet, "identity", reads="viewer", changes="operator")
    identities = fleet.identities

    @router.post(
        "/v1/tokens",
        openapi_extra=unkeyed(_LOST, asks(TokenRequest)),
        responses=answers(TokenMade, "bad-id", "bad-config"),
    )
    async def make_token(request: Request) -> Response:
        """Make a token by which devices enrol. Its secret is in this answer and nowhere else."""
        body = await read_body(request, MAX_OPERATOR_BYTES)
        made = identities.make_token(decode_asked(body, TokenRequest), fleet.url)
        say_about(request, f"token={made.id}")
        return answer(made)

    @router.get("/v1/tokens", responses=answers(list[TokenView]))
    def tokens() -> Response:
        """All tokens, the newest first, without their secrets."""
        return answer(identities.tokens())

    @router.delete(
        "/v1/tokens/{token}", openapi_extra=unkeyed("A token that was taken back stays so."),
        responses=answers(TokenView, "not-found"),
    )  # fmt: skip
    def revoke_token(token: str) -> Response:
        """Take a token back: nobody comes by it any more. Who came stays."""
        return answer(identities.revoke_token(token))

    @router.post(
        "/v1/devices/{device}/replace", openapi_extra=needing("admin", keyed(match=True)),
        responses=answers(IdentityEnded, "bad-id", "not-found", *MATCHED),
    )  # fmt: skip
    async def replace(device: str, request: Request) -> Response:
        """Let another board enrol in this one's place: what it was known by holds no more."""
        return await carry_out(request, b"", lambda on: identities.replace(device, on))

    @router.post(
        "/v1/devices/{device}/remove", openapi_extra=needing("admin", keyed(match=True)),
        responses=answers(IdentityEnded, "bad-id", "not-found", *MATCHED),
    )  # fmt: skip
    async def remove(device: str, request: Request) -> Response:
        """Take a device out: what it is known by holds no more, and it gets no other."""
        return await carry_out(request, b"", lambda on: identities.remove(device, on))

    return router
