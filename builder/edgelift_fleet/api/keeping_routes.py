"""What keeps a site, over HTTP: blobs that nothing names are collected; devices that went on since a backup are told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from edgelift_fleet import restored
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, carry_out, keyed
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.conditions import Conditions, answered_before, keep_answer
from edgelift_fleet.db import SITE
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.keeping.collect import LEAST_S, OLDER_THAN_S, collect
from edgelift_fleet.messages.keeping import CollectReport, RestoredView, TellReply, TellRequest

_LONGEST_S = 1_000_000_000


def keeping_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: blobs that nothing names, and what a restore left open."""
    router = operator_router(fleet, "site", reads="viewer", changes="operator")

    @router.post(
        "/v1/blobs/collect", openapi_extra=keyed(), responses=answers(CollectReport, "missing-blob", *KEYED)
    )
    async def collect_blobs(
        request: Request,
        dry_run: Annotated[bool, Query(description="Only say what would be deleted.")] = False,
        older_than_s: Annotated[
            float,
            Query(ge=LEAST_S, le=_LONGEST_S, description="For how long nothing must have named a blob, seconds."),
        ] = OLDER_THAN_S,
    ) -> Response:
        """Delete blobs that no release, no assignment and nothing to go back to has named for a while, and what interrupted
        uploads left; answers counts and sizes.
        """
        return await carry_out(request, b"", lambda on: _collect(fleet, on, older_than_s, dry_run=dry_run))

    @router.get("/v1/restored", responses=answers(RestoredView, "not-found"))
    def show_restored() -> Response:
        """The last restore of the site, and the devices that went on since the backup and run something else than it
        says: they stay as they are until they are told, or something is assigned to them.
        """
        with fleet.db.read() as session:
            return answer(restored.view_restored(session))

    @router.post(
        "/v1/restored/tell", openapi_extra=keyed(asks(TellRequest)),
        responses=answers(TellReply, "not-found", *KEYED),
    )  # fmt: skip
    async def tell_restored(request: Request) -> Response:
        """Tell devices that went on what the site says; all of them, and those that come later, when none is named."""
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, TellRequest)
        return await carry_out(request, body, lambda on: _tell(fleet, wanted, on))

    return router


def _tell(fleet: Fleet, wanted: TellRequest, on: Conditions) -> TellReply:
    with fleet.db.write(SITE) as session:
        on.begin(session)
        made = restored.tell_anew(session, wanted.devices)
        on.end(session, made)
    for device in made.told:
        fleet.changes.announce(device)
    return made


def _collect(fleet: Fleet, on: Conditions, older_than_s: float, *, dry_run: bool) -> CollectReport:
    answered_before(fleet.db, on)
    made = collect(fleet.db, fleet.blobs, older_than_s=older_than_s, dry_run=dry_run)
    keep_answer(fleet.db, on, made)
    return made
