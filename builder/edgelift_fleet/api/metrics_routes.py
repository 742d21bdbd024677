"""The fleet's metrics, for Prometheus and what reads its formats."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from edgelift_fleet.api.operator_routes import operator_router
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.metrics.exposition import OPENMETRICS, FleetMetrics

_TEXT = {"schema": {"type": "string"}}
_EXPOSED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format 0.0.4, or OpenMetrics 1.0 where `Accept` names it.",
        "content": {"text/plain": _TEXT, OPENMETRICS: _TEXT},
    }
}


def metrics_routes(fleet: Fleet) -> APIRouter:
    """Where a scraper asks: by an access token of a viewer."""
    router = operator_router(fleet, "site", reads="viewer", changes="admin")
    made = FleetMetrics(fleet)

    @router.get("/metrics", responses=_EXPOSED)
    def metrics(request: Request) -> Response:
        """The whole fleet and the server as metrics; see docs/metrics.md. What was made is given again for five seconds."""
        body, kind = made.expose(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})

    return router
