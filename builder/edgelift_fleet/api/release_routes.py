"""Releases over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from edgelift_contract.release import Release
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.schema import answers, answers_list, takes
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import PublishReply, ReleaseView
from edgelift_fleet.paging import WHOLE
from edgelift_fleet.release_folder import MAX_RELEASE_BYTES, parse_release_file
from edgelift_fleet.release_list import list_releases


class ReleasePageQuery(PageQuery):
    """A page of releases; `after` is one, as `digits@2`. Keys to sort by: `published`, `name`, `counter`."""

    name: Annotated[str, Field(max_length=64, description="Only releases of this model.")] = ""


def release_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: releases."""
    router = operator_router(fleet, "releases")

    @router.get("/v1/releases", responses=answers_list(ReleaseView))
    def releases(request: Request, asked: Annotated[ReleasePageQuery, Query()]) -> Response:
        """Releases, newest first."""
        with fleet.db.read() as session:
            page = list_releases(session, fleet.site.blobs, asked.wish(WHOLE), name=asked.name)
        return answer_page(request, page)

    @router.post("/v1/releases", openapi_extra=takes(Release), responses=answers(PublishReply))
    async def publish(request: Request) -> Response:
        """Publish a release: the body is its `release.json`. Refused with `blobs-wanted` while files of it are not here,
        `missing` naming them: send those, then this again. The same again changes nothing, and mends what is damaged.
        """
        release = parse_release_file(await read_body(request, MAX_RELEASE_BYTES))
        return answer(await run_in_threadpool(fleet.publishing.publish, release))

    return router
