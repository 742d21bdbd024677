"""Names over HTTP, for a shell that completes a word."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.schema import answers
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.names import Noun, list_names


def name_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: names that begin so."""
    router = operator_router(fleet, "operators", reads="viewer", changes="operator")

    @router.get("/v1/names", responses=answers(list[str]))
    def names(
        of: Annotated[Noun, Query(description="What is named.")],
        prefix: Annotated[str, Query(max_length=256, description="How the names begin.")] = "",
    ) -> Response:
        """What a shell offers for a word that was begun: names alone, at most 200."""
        with fleet.db.read() as session:
            return answer(list_names(session, of, prefix))

    return router
