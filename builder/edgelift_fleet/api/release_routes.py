"""Releases over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy.orm import Session

from edgelift_contract.release import Release
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, MATCHED, carry_out, keyed
from edgelift_fleet.api.etags import tagged
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, operator_router
from edgelift_fleet.api.operators import say_about
from edgelift_fleet.api.schema import answers, answers_list, asks, takes
from edgelift_fleet.conditions import Conditions, answered_before, keep_answer, version_of_release
from edgelift_fleet.db import SITE
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.keeping.named import NamedArtifacts, named_artifacts, named_blobs
from edgelift_fleet.listed import refuse_unsigned
from edgelift_fleet.messages import PublishReply, ReleaseDetail, ReleaseView, RetireRequest
from edgelift_fleet.paging import WHOLE
from edgelift_fleet.registry import get_release_row, read_release
from edgelift_fleet.release_detail import release_detail
from edgelift_fleet.release_folder import MAX_RELEASE_BYTES, parse_release_file
from edgelift_fleet.release_list import list_releases, release_views
from edgelift_fleet.retiring import delete, retire, unretire
from edgelift_fleet.tables import ReleaseRow
from edgelift_fleet.unnamed import mark

#: Codes by which a publication is refused, and what is asked of a release that is there.
_OF_PUBLISH = ("unknown-schema", "conflict", "blobs-wanted", "size-mismatch", "not-signed")
_OF_RELEASE = ("bad-id", "not-found")


class ReleasePageQuery(PageQuery):
    """A page of releases; `after` is one, as `digits@2`. Keys to sort by: `published`, `name`, `counter`."""

    name: Annotated[str, Field(max_length=64, description="Only releases of this model.")] = ""
    retired: Annotated[bool | None, Field(description="Only those that are retired, or are not.")] = None


def release_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: releases."""
    router = operator_router(fleet, "releases", reads="viewer", changes="operator")

    @router.get("/v1/releases", responses=answers_list(ReleaseView, "bad-id"))
    def releases(request: Request, asked: Annotated[ReleasePageQuery, Query()]) -> Response:
        """Releases, newest first."""
        with fleet.db.read() as session:
            page = list_releases(
                session, fleet.site.blobs, asked.wish(WHOLE), name=asked.name, retired=asked.retired
            )
        return answer_page(request, page)

    @router.post(
        "/v1/releases", openapi_extra=keyed(takes(Release)), responses=answers(PublishReply, *_OF_PUBLISH, *KEYED)
    )
    async def publish(request: Request) -> Response:
        """Publish a release: the body is its `release.json`. Refused with `blobs-wanted` while files of it are not here,
        `missing` naming them: send those, then this again. The same again changes nothing, and mends what is damaged.
        """
        body = await read_body(request, MAX_RELEASE_BYTES)
        release = parse_release_file(body)
        say_about(request, f"release={release.model}@{release.version}")
        return await carry_out(request, body, lambda on: _publish(fleet, release, on))

    @router.get("/v1/releases/{name}/{version}", responses=answers(ReleaseDetail, *_OF_RELEASE))
    def release(name: str, version: str) -> Response:
        """One release, and what names it: devices that have it, should have it, or would go back to it; rollouts of it."""
        with fleet.db.read() as session:
            row = get_release_row(session, f"{name}@{version}")
            return tagged(release_detail(session, row, fleet.site.blobs, fleet.blobs), version_of_release(row))

    @router.post(
        "/v1/releases/{name}/{version}/retire", responses=answers(ReleaseView, *_OF_RELEASE, "conflict", *MATCHED),
        openapi_extra=keyed(asks(RetireRequest, required=False), match=True),
    )  # fmt: skip
    async def retire_release(name: str, version: str, request: Request) -> Response:
        """Give a release to nobody new: assigning it and rolling it out are refused. Devices that have it keep it, fetch it
        and go back to it. Refused while a rollout gives it out.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        asked = decode_asked(body or b"{}", RetireRequest)
        return await carry_out(request, body, lambda on: _retire(fleet, f"{name}@{version}", asked, on))

    @router.post(
        "/v1/releases/{name}/{version}/unretire", openapi_extra=keyed(match=True),
        responses=answers(ReleaseView, *_OF_RELEASE, "not-signed", *MATCHED),
    )  # fmt: skip
    async def unretire_release(name: str, version: str, request: Request) -> Response:
        """Let a retired release be given out again. Refused where it is listed no more: publish it again first."""
        return await carry_out(request, b"", lambda on: _unretire(fleet, f"{name}@{version}", on))

    @router.delete(
        "/v1/releases/{name}/{version}", openapi_extra=keyed(match=True),
        responses=answers(ReleaseView, *_OF_RELEASE, "conflict", *MATCHED),
    )  # fmt: skip
    async def delete_release(name: str, version: str, request: Request) -> Response:
        """Delete a release that nothing names; answers what it was. Refused with all that names it, as `uses`. Its files go
        when blobs that nothing names are collected.
        """
        return await carry_out(request, b"", lambda on: _delete(fleet, f"{name}@{version}", on))

    return router


def _publish(fleet: Fleet, release: Release, on: Conditions) -> PublishReply:
    """In several steps, each of which may come again: what broke off in between is done by asking once more."""
    answered_before(fleet.db, on)
    with fleet.db.read() as session:
        refuse_unsigned(session, release)
    made = fleet.publishing.publish(release)
    keep_answer(fleet.db, on, made)
    return made


def _blobs_of(fleet: Fleet, release: str) -> set[str]:
    with fleet.db.read() as session:
        artifacts = named_artifacts(session).releases.get(release, [])
    return named_blobs(NamedArtifacts({release: artifacts}, set()), fleet.blobs).needed


def _view(fleet: Fleet, session: Session, row: ReleaseRow) -> ReleaseView:
    return release_views(session, [row], fleet.site.blobs)[0]


def _retire(fleet: Fleet, name: str, asked: RetireRequest, on: Conditions) -> ReleaseView:
    with _changing(fleet, name, on) as session:
        made = _view(fleet, session, retire(session, name, asked.why))
        on.end(session, made)
        return made


def _unretire(fleet: Fleet, name: str, on: Conditions) -> ReleaseView:
    with _changing(fleet, name, on) as session:
        row = unretire(session, name)
        refuse_unsigned(session, read_release(row))
        made = _view(fleet, session, row)
        on.end(session, made)
        return made


def _delete(fleet: Fleet, name: str, on: Conditions) -> ReleaseView:
    answered_before(fleet.db, on)
    its_blobs = _blobs_of(fleet, name)
    with _changing(fleet, name, on) as session:
        was = _view(fleet, session, get_release_row(session, name))
        delete(session, name)
        mark(session, its_blobs, time.time())
        on.end(session, was)
        return was


@contextmanager
def _changing(fleet: Fleet, name: str, on: Conditions) -> Iterator[Session]:
    with fleet.db.write(SITE) as session:
        on.begin(session)
        on.match(version_of_release(get_release_row(session, name)))
        yield session
