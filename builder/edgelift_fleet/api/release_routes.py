"""Releases over HTTP."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.release import Release
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, answers_list, takes
from edgelift_fleet.db import SITE
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.keeping.named import NamedArtifacts, named_artifacts, named_blobs
from edgelift_fleet.messages import PublishReply, ReleaseDetail, ReleaseView, RetireRequest
from edgelift_fleet.paging import WHOLE
from edgelift_fleet.registry import get_release_row
from edgelift_fleet.release_folder import MAX_RELEASE_BYTES, parse_release_file
from edgelift_fleet.release_list import list_releases, release_views
from edgelift_fleet.retiring import delete, retire, unretire
from edgelift_fleet.tables import ReleaseRow
from edgelift_fleet.unnamed import mark
from edgelift_fleet.uses import release_uses

#: Codes by which a publication is refused, and what is asked of a release that is there.
_OF_PUBLISH = ("unknown-schema", "conflict", "blobs-wanted", "size-mismatch")
_OF_RELEASE = ("bad-id", "not-found")


class ReleasePageQuery(PageQuery):
    """A page of releases; `after` is one, as `digits@2`. Keys to sort by: `published`, `name`, `counter`."""

    name: Annotated[str, Field(max_length=64, description="Only releases of this model.")] = ""
    retired: Annotated[bool | None, Field(description="Only those that are retired, or are not.")] = None


def release_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: releases."""
    router = operator_router(fleet, "releases")

    @router.get("/v1/releases", responses=answers_list(ReleaseView, "bad-id"))
    def releases(request: Request, asked: Annotated[ReleasePageQuery, Query()]) -> Response:
        """Releases, newest first."""
        with fleet.db.read() as session:
            page = list_releases(
                session, fleet.site.blobs, asked.wish(WHOLE), name=asked.name, retired=asked.retired
            )
        return answer_page(request, page)

    @router.post("/v1/releases", openapi_extra=takes(Release), responses=answers(PublishReply, *_OF_PUBLISH))
    async def publish(request: Request) -> Response:
        """Publish a release: the body is its `release.json`. Refused with `blobs-wanted` while files of it are not here,
        `missing` naming them: send those, then this again. The same again changes nothing, and mends what is damaged.
        """
        release = parse_release_file(await read_body(request, MAX_RELEASE_BYTES))
        return answer(await run_in_threadpool(fleet.publishing.publish, release))

    @router.get("/v1/releases/{name}/{version}", responses=answers(ReleaseDetail, *_OF_RELEASE))
    def release(name: str, version: str) -> Response:
        """One release, and what names it: devices that have it, should have it, or would go back to it; rollouts of it."""
        with fleet.db.read() as session:
            row = get_release_row(session, f"{name}@{version}")
            return answer(ReleaseDetail(_view(fleet, session, row), release_uses(session, row)))

    @router.post(
        "/v1/releases/{name}/{version}/retire", openapi_extra=takes(RetireRequest, required=False),
        responses=answers(ReleaseView, *_OF_RELEASE, "conflict"),
    )  # fmt: skip
    async def retire_release(name: str, version: str, request: Request) -> Response:
        """Give a release to nobody new: assigning it and rolling it out are refused. Devices that have it keep it, fetch it
        and go back to it. Refused while a rollout gives it out.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        asked = codec.decode_json(body or b"{}", RetireRequest, what="request")
        return answer(await run_in_threadpool(_retire, fleet, f"{name}@{version}", asked))

    @router.post("/v1/releases/{name}/{version}/unretire", responses=answers(ReleaseView, *_OF_RELEASE))
    def unretire_release(name: str, version: str) -> Response:
        """Let a retired release be given out again."""
        with fleet.db.write(SITE) as session:
            return answer(_view(fleet, session, unretire(session, f"{name}@{version}")))

    @router.delete("/v1/releases/{name}/{version}", responses=answers(ReleaseView, *_OF_RELEASE, "conflict"))
    def delete_release(name: str, version: str) -> Response:
        """Delete a release that nothing names; answers what it was. Refused with all that names it, as `uses`. Its files go
        when blobs that nothing names are collected.
        """
        its_blobs = _blobs_of(fleet, f"{name}@{version}")
        with fleet.db.write(SITE) as session:
            was = _view(fleet, session, get_release_row(session, f"{name}@{version}"))
            delete(session, f"{name}@{version}")
            mark(session, its_blobs, time.time())
        return answer(was)

    return router


def _blobs_of(fleet: Fleet, release: str) -> set[str]:
    with fleet.db.read() as session:
        artifacts = named_artifacts(session).releases.get(release, [])
    return named_blobs(NamedArtifacts({release: artifacts}, set()), fleet.blobs).needed


def _view(fleet: Fleet, session: Session, row: ReleaseRow) -> ReleaseView:
    return release_views(session, [row], fleet.site.blobs)[0]


def _retire(fleet: Fleet, name: str, asked: RetireRequest) -> ReleaseView:
    with fleet.db.write(SITE) as session:
        return _view(fleet, session, retire(session, name, asked.why))
