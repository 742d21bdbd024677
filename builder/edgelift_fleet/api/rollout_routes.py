"""Rollouts over HTTP: start, look, pause, resume, cancel, roll back, let go."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, MATCHED, asking, carry_out, keyed
from edgelift_fleet.api.etags import tagged
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.listing import PageQuery, answer_page
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.operators import say_about
from edgelift_fleet.api.schema import answers, answers_list, asks
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import RolloutOrder, RolloutPreview, RolloutRequest, RolloutSummary, RolloutView
from edgelift_fleet.rollout.commands import Command
from edgelift_fleet.rollout.listing import WHOLE_ROLLOUTS, RolloutFilter
from edgelift_fleet.rollout.view import DEVICES, MAX_DEVICES, Asked

#: An order that lets ten thousand devices go by name, a selector that lists them.
MAX_ORDER_BYTES = 1 << 20
#: Largest number that the database counts to.
LARGEST = 2**63 - 1

#: Codes by which a start and its preview are refused, and what is asked of a rollout that is there.
_OF_START = (
    "bad-id", "not-found", "conflict", "retired", "older-release", "wrong-hardware-class", "runtime-missing",
    "unreadable-row",
)  # fmt: skip
_OF_PREVIEW = ("bad-id", "not-found", "retired", "unreadable-row")
_OF_ROLLOUT = ("not-found",)


class RolloutPageQuery(PageQuery):
    """A page of rollouts; `after` is one, as `r7`. Keys to sort by: `created`, `changed`, `state`."""

    state: Annotated[str, Field(max_length=16, description="In this state; `open`: not ended.")] = ""
    name: Annotated[str, Field(max_length=100, description="As a person named it.")] = ""
    release: Annotated[str, Field(max_length=130, description="Of this release, as digits@2.")] = ""


def rollout_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: rollouts."""
    router = operator_router(fleet, "rollouts", reads="viewer", changes="operator")

    @router.post(
        "/v1/rollouts", openapi_extra=keyed(asks(RolloutRequest)),
        responses=answers(RolloutView, *_OF_START, *KEYED),
    )  # fmt: skip
    async def start(request: Request) -> Response:
        """Roll a release out in waves. The next wave begins only when every device of the last one served the
        release through its probation; a failure gives every device that it changed its previous version back.
        """
        body = await read_body(request, MAX_ORDER_BYTES)
        wanted = decode_asked(body, RolloutRequest)
        say_about(request, f"release={wanted.release}, to={wanted.to}")
        return await carry_out(request, body, lambda on: fleet.rollouts.start(wanted, on))

    @router.post(
        "/v1/rollouts/preview",
        openapi_extra=asking(asks(RolloutRequest)),
        responses=answers(RolloutPreview, *_OF_PREVIEW),
    )
    async def preview(request: Request) -> Response:
        """What a rollout would do if it began now: who gets which artifact in which wave, how many bytes, who is offline,
        unsuited or in another rollout, how long it takes at least, and why it can't be started. Nothing is changed.
        """
        body = await read_body(request, MAX_ORDER_BYTES)
        wanted = decode_asked(body, RolloutRequest)
        return answer(await run_in_threadpool(fleet.rollouts.preview, wanted))

    @router.get("/v1/rollouts", responses=answers_list(RolloutSummary, "bad-id", "not-found"))
    def rollouts(request: Request, asked: Annotated[RolloutPageQuery, Query()]) -> Response:
        """Rollouts, newest first: counts and reasons, no devices. Without a page the newest 200."""
        found = RolloutFilter(asked.state, asked.name, asked.release)
        return answer_page(request, fleet.rollouts.list(found, asked.wish(WHOLE_ROLLOUTS)))

    @router.get("/v1/rollouts/{rollout}", responses=answers(RolloutView, *_OF_ROLLOUT))
    def rollout(
        rollout: str,
        status: Annotated[str, Query(description="Only devices of this status.", max_length=16)] = "",
        limit: Annotated[int, Query(ge=0, le=MAX_DEVICES, description="Devices, at most.")] = DEVICES,
        after: Annotated[str, Query(description="Only devices after this id.", max_length=64)] = "",
        events_after: Annotated[int, Query(ge=0, le=LARGEST, description="Only events after this `seq`.")] = 0,
    ) -> Response:
        """One rollout: its state with the reason, counts, devices that it reached, and what happened in order."""
        found, version = fleet.rollouts.look(rollout, Asked(status, limit, after, events_after))
        return tagged(found, version, same=msgspec.structs.replace(found, now=0.0))

    @router.post(
        "/v1/rollouts/{rollout}/{command}", responses=answers(RolloutView, *_OF_ROLLOUT, "conflict", *MATCHED),
        openapi_extra=keyed(asks(RolloutOrder, required=False), match=True),
    )  # fmt: skip
    async def command(rollout: str, command: Command, request: Request) -> Response:
        """`pause` takes back what was assigned and not begun, `resume` goes on; `approve` lets the wave begin that
        waits for it, or the one that is named; `cancel` assigns
        nothing more and leaves devices as they are; `rollback` gives every device that the rollout changed its previous
        version back, whatever state it is in; `let-go` releases the devices that are named. The body may say why.
        """
        body = await read_body(request, MAX_ORDER_BYTES)
        order = decode_asked(body or b"{}", RolloutOrder)
        return await carry_out(request, body, lambda on: fleet.rollouts.command(rollout, command, order, on=on))

    return router
