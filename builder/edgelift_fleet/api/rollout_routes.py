"""Rollouts over HTTP: start, look, pause, resume, cancel, roll back."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from edgelift_contract import codec
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, takes
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import RolloutRequest, RolloutView


def rollout_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: rollouts."""
    router = operator_router(fleet, "rollouts")

    @router.post("/v1/rollouts", openapi_extra=takes(RolloutRequest), responses=answers(RolloutView))
    async def start(request: Request) -> Response:
        """Roll a release out in waves. The next wave begins only when every device of the last one served the
        release through its probation; a failure gives the wave its previous version back.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = codec.decode_json(body, RolloutRequest, what="request")
        return answer(await run_in_threadpool(fleet.rollouts.start, wanted))

    @router.get("/v1/rollouts", responses=answers(list[RolloutView]))
    def rollouts() -> Response:
        """All rollouts, newest first."""
        return answer(fleet.rollouts.list())

    @router.get("/v1/rollouts/{rollout}", responses=answers(RolloutView))
    def rollout(rollout: str) -> Response:
        """One rollout: its state with the reason, each device it reached, and what happened in order."""
        return answer(fleet.rollouts.show(rollout))

    @router.post("/v1/rollouts/{rollout}/{command}", responses=answers(RolloutView))
    def command(rollout: str, command: Literal["pause", "resume", "cancel", "rollback"]) -> Response:
        """`pause` and `resume`; `cancel` assigns nothing more and leaves devices as they are; `rollback` gives
        every device that was reached its previous version back.
        """
        return answer(fleet.rollouts.command(rollout, command))

    return router
