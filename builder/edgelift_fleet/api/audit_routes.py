"""What people did, over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import operator_router
from edgelift_fleet.api.schema import answers_list
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.audit import AuditEntry
from edgelift_fleet.people.audit import WHOLE_AUDIT, list_audit


class AuditQuery(PageQuery):
    """Which entries. Sorted by `number`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    who: Annotated[str, Field(max_length=80, description="Only theirs.")] = ""
    since: Annotated[
        float, Field(ge=0, le=9_223_372_036, description="Only from then on, seconds since 1970.")
    ] = 0.0
    joined: Annotated[bool, Field(description="Without what was begun and has ended: its end says it.")] = False


def audit_routes(fleet: Fleet) -> APIRouter:
    """The log."""
    router = operator_router(fleet, "people", reads="admin", changes="admin")

    @router.get("/v1/audit", responses=answers_list(AuditEntry, "bad-id"))
    def audit(request: Request, asked: Annotated[AuditQuery, Query()]) -> Response:
        """Who asked for which change, when, from where and why, and what came of it; the newest first."""
        with fleet.db.read() as session:
            return answer_page(
                request, list_audit(session, asked.who, asked.since, asked.wish(WHOLE_AUDIT), joined=asked.joined)
            )

    return router
