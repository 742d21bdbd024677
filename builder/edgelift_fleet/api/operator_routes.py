"""What operators and their tools call of devices one by one: assignments, tags, mending; and the server's health."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from edgelift_contract import __version__, codec
from edgelift_contract.assignment import Assignment
from edgelift_fleet import overview
from edgelift_fleet.api.limits import RequireBearer, read_body
from edgelift_fleet.api.media import judge_media
from edgelift_fleet.api.schema import answers, takes
from edgelift_fleet.bulk import assign_many
from edgelift_fleet.db import device_scope
from edgelift_fleet.devices import change_tags
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import (
    AssignManyRequest,
    AssignOutcome,
    AssignReply,
    AssignRequest,
    DeviceDetail,
    MendReply,
    ServerHealth,
    TagsRequest,
)
from edgelift_fleet.rollout.clashes import open_rollouts_of, refuse_clash
from edgelift_fleet.tables import DeviceRow

MAX_OPERATOR_BYTES = 64 * 1024
#: A selector may list thousands of devices.
MAX_SELECTOR_BYTES = 1 << 20

#: Codes by which what concerns one device is refused, what gives it another revision, and an assignment.
_OF_DEVICE = ("bad-id", "not-found")
_OF_REVISION = ("unreadable-row", "revisions-spent")
_OF_ASSIGN = (*_OF_DEVICE, *_OF_REVISION, "retired", "wrong-hardware-class", "runtime-missing")


def operator_router(fleet: Fleet, tag: str) -> APIRouter:
    """An empty router that lets operators in, and takes and gives what its routes' tables say."""
    check = RequireBearer(fleet.site.secret("operator-token"), name="operator token")
    return APIRouter(tags=[tag], dependencies=[Depends(check), Depends(judge_media)])


def answer(message: Any) -> Response:
    """`message` as JSON."""
    return Response(codec.canonical_json(message), media_type="application/json")


def operator_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API, but for rollouts."""
    router = operator_router(fleet, "operators")

    @router.get("/v1/health", responses=answers(ServerHealth))
    def health() -> Response:
        """Is the server there, with how many devices, and does its broker connection stand?"""
        with fleet.db.read() as session:
            number = session.scalar(sa.select(sa.func.count()).select_from(DeviceRow)) or 0
        uptime_s = round(time.time() - fleet.started_at, 1)
        name, broker, leads = fleet.site.config.name, fleet.broker_state(), fleet.lead.leads
        return answer(
            ServerHealth(name, __version__, uptime_s, number, broker, leads, fleet.load(), len(fleet.damaged()))
        )

    @router.get("/v1/devices/{device}", responses=answers(DeviceDetail, *_OF_DEVICE))
    def device(device: str) -> Response:
        """One device: also its latency by version from merged histograms, its swaps, history and events."""
        with fleet.db.read() as session:
            return answer(overview.device_detail(session, fleet.seen, device))

    @router.post(
        "/v1/devices/{device}/assign",
        openapi_extra=takes(AssignRequest),
        responses=answers(AssignReply, *_OF_ASSIGN),
    )
    async def assign(device: str, request: Request) -> Response:
        """Have the device run a release: the artifact that suits it is picked by hardware class and runtime.
        The same again changes nothing.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = codec.decode_json(body, AssignRequest, what="request")
        return answer(await run_in_threadpool(_assign, fleet, device, wanted))

    @router.post(
        "/v1/assign", openapi_extra=takes(AssignManyRequest),
        responses=answers(list[AssignOutcome], "bad-id", "not-found", "retired", "unreadable-row"),
    )  # fmt: skip
    async def assign_all(request: Request) -> Response:
        """Have every device that a selector means run the release, at once and without waves; answers what each got. What
        is wrong with one device costs that device.
        """
        wanted = codec.decode_json(await read_body(request, MAX_SELECTOR_BYTES), AssignManyRequest, what="request")
        return answer(await run_in_threadpool(assign_many, fleet.db, fleet.changes, wanted))

    @router.delete("/v1/devices/{device}/slots/{slot}", responses=answers(Assignment, *_OF_DEVICE, *_OF_REVISION))
    def clear(device: str, slot: str) -> Response:
        """Have the device empty a slot."""
        return answer(fleet.assignments.clear(device, slot))

    @router.post(
        "/v1/devices/{device}/tags", openapi_extra=takes(TagsRequest),
        responses=answers(dict[str, str], *_OF_DEVICE, "conflict"),
    )  # fmt: skip
    async def tags(device: str, request: Request) -> Response:
        """Set and remove tags; answers all tags of the device. An operator's tag wins over the device's own."""
        wanted = codec.decode_json(await read_body(request, MAX_OPERATOR_BYTES), TagsRequest, what="request")
        return answer(await run_in_threadpool(_tag, fleet, device, wanted))

    @router.post("/v1/devices/{device}/mend", responses=answers(MendReply, *_OF_DEVICE))
    def mend(device: str) -> Response:
        """Make a device whole that is set apart (`faults`): what can't be read of it is dropped, its next report counts
        whatever came before, and its assignment gets a fresh revision.
        """
        return answer(fleet.mending.mend(device))

    return router


def _assign(fleet: Fleet, device: str, wanted: AssignRequest) -> AssignReply:
    slot = wanted.slot or wanted.release.partition("@")[0]
    made, changed = fleet.assignments.assign(device, wanted.release, slot=slot, policy=wanted.policy)
    return AssignReply(device, made.revision, changed, slot, overview.to_desired(made.slots[slot]))


def _tag(fleet: Fleet, device: str, wanted: TagsRequest) -> dict[str, str]:
    with fleet.db.write(device_scope(device)) as session:
        before = open_rollouts_of(session, device)
        tags = change_tags(session, device, wanted.set, wanted.remove)
        refuse_clash(session, device, before)
    fleet.work.set()  # a rollout may have won or lost a device
    return tags
