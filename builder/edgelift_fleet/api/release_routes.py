"""Releases over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import operator_router
from edgelift_fleet.api.schema import answers_list
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import ReleaseView
from edgelift_fleet.paging import WHOLE
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

    return router
