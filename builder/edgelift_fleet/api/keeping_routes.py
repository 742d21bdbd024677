"""What keeps a site, over HTTP: blobs that nothing names are collected."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.schema import answers
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.keeping.collect import LEAST_S, OLDER_THAN_S, collect
from edgelift_fleet.messages.keeping import CollectReport

_LONGEST_S = 1_000_000_000


def keeping_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: blobs that nothing names."""
    router = operator_router(fleet, "site")

    @router.post("/v1/blobs/collect", responses=answers(CollectReport, "missing-blob"))
    def collect_blobs(
        dry_run: Annotated[bool, Query(description="Only say what would be deleted.")] = False,
        older_than_s: Annotated[
            float,
            Query(ge=LEAST_S, le=_LONGEST_S, description="For how long nothing must have named a blob, seconds."),
        ] = OLDER_THAN_S,
    ) -> Response:
        """Delete blobs that no release, no assignment and nothing to go back to has named for a while, and what interrupted
        uploads left; answers counts and sizes.
        """
        return answer(collect(fleet.db, fleet.blobs, older_than_s=older_than_s, dry_run=dry_run))

    return router
