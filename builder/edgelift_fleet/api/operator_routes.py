"""What operators and their tools call of devices one by one: assignments, tags, mending; and the server's health."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from msgspec.structs import replace

from edgelift_contract import __version__, codec
from edgelift_contract.assignment import Assignment
from edgelift_fleet import overview
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.conditional import KEYED, MATCHED, OperatorRoute, carry_out, keyed
from edgelift_fleet.api.etags import tagged
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.media import judge_media
from edgelift_fleet.api.misasked import judge_query
from edgelift_fleet.api.operators import Operators, say_about
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.bulk import assign_many
from edgelift_fleet.conditions import Conditions, answered_before, keep_answer, version_of_device
from edgelift_fleet.db import device_scope
from edgelift_fleet.devices import change_tags, get_device
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


def operator_router(fleet: Fleet, tag: str, *, reads: str, changes: str) -> APIRouter:
    """An empty router that lets operators in, and takes and gives what its routes' tables say.

    Args:
        fleet: whose.
        tag: of its routes in the document.
        reads: the least role of those that read.
        changes: the least role of those that change something.
    """
    check = Operators(fleet.people, fleet.site.secret("operator-token"), reads=reads, changes=changes)
    judges = [Depends(check), Depends(judge_media), Depends(judge_query)]
    return APIRouter(tags=[tag], dependencies=judges, route_class=OperatorRoute)


def answer(message: Any) -> Response:
    """`message` as JSON."""
    return Response(codec.canonical_json(message), media_type="application/json")


def server_health(fleet: Fleet) -> ServerHealth:
    """How the server is; raises the database's when that is away."""
    with fleet.db.read() as session:
        number = session.scalar(sa.select(sa.func.count()).select_from(DeviceRow)) or 0
    return ServerHealth(
        fleet.site.config.name, __version__, round(time.time() - fleet.started_at, 1), number, fleet.broker_state(),
        fleet.lead.leads, fleet.load(), len(fleet.damaged()), fleet.signed.warnings,
    )  # fmt: skip


def operator_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API, but for rollouts."""
    router = operator_router(fleet, "operators", reads="viewer", changes="operator")

    @router.get("/v1/health", responses=answers(ServerHealth))
    def health() -> Response:
        """Is the server there, with how many devices, and does its broker connection stand?"""
        return answer(server_health(fleet))

    @router.get("/v1/devices/{device}", responses=answers(DeviceDetail, *_OF_DEVICE))
    def device(device: str) -> Response:
        """One device: also its latency by version from merged histograms, its swaps, history and events."""
        with fleet.db.read() as session:
            found = overview.device_detail(session, fleet.seen, device)
            found = replace(found, identity=fleet.identities.view(session, device))
            return tagged(found, version_of_device(session, device))

    @router.post(
        "/v1/devices/{device}/assign",
        openapi_extra=keyed(asks(AssignRequest), match=True),
        responses=answers(AssignReply, *_OF_ASSIGN, *MATCHED),
    )
    async def assign(device: str, request: Request) -> Response:
        """Have the device run a release: the artifact that suits it is picked by hardware class and runtime.
        The same again changes nothing.
        """
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, AssignRequest)
        say_about(request, f"release={wanted.release}")
        return await carry_out(request, body, lambda on: _assign(fleet, device, wanted, on))

    @router.post(
        "/v1/assign", openapi_extra=keyed(asks(AssignManyRequest)),
        responses=answers(list[AssignOutcome], *KEYED, "bad-id", "not-found", "retired", "unreadable-row"),
    )  # fmt: skip
    async def assign_all(request: Request) -> Response:
        """Have every device that a selector means run the release, at once and without waves; answers what each got. What
        is wrong with one device costs that device.
        """
        body = await read_body(request, MAX_SELECTOR_BYTES)
        wanted = decode_asked(body, AssignManyRequest)
        say_about(request, f"release={wanted.release}, to={wanted.to}")
        return await carry_out(request, body, lambda on: _assign_all(fleet, wanted, on))

    @router.delete(
        "/v1/devices/{device}/slots/{slot}", openapi_extra=keyed(match=True),
        responses=answers(Assignment, *_OF_DEVICE, *_OF_REVISION, *MATCHED),
    )  # fmt: skip
    async def clear(device: str, slot: str, request: Request) -> Response:
        """Have the device empty a slot."""
        return await carry_out(request, b"", lambda on: fleet.assignments.clear(device, slot, on))

    @router.post(
        "/v1/devices/{device}/tags", openapi_extra=keyed(asks(TagsRequest), match=True),
        responses=answers(dict[str, str], *_OF_DEVICE, "conflict", *MATCHED),
    )  # fmt: skip
    async def tags(device: str, request: Request) -> Response:
        """Set and remove tags; answers all tags of the device. An operator's tag wins over the device's own."""
        body = await read_body(request, MAX_OPERATOR_BYTES)
        wanted = decode_asked(body, TagsRequest)
        return await carry_out(request, body, lambda on: _tag(fleet, device, wanted, on))

    @router.post(
        "/v1/devices/{device}/mend", openapi_extra=keyed(match=True),
        responses=answers(MendReply, *_OF_DEVICE, *MATCHED),
    )  # fmt: skip
    async def mend(device: str, request: Request) -> Response:
        """Make a device whole that is set apart (`faults`): what can't be read of it is dropped, its next report counts
        whatever came before, and its assignment gets a fresh revision.
        """
        return await carry_out(request, b"", lambda on: fleet.mending.mend(device, on))

    return router


def _assign(fleet: Fleet, device: str, wanted: AssignRequest, on: Conditions) -> AssignReply:
    slot = wanted.slot or wanted.release.partition("@")[0]
    return fleet.assignments.assign(device, wanted.release, slot=slot, policy=wanted.policy, on=on)


def _assign_all(fleet: Fleet, wanted: AssignManyRequest, on: Conditions) -> list[AssignOutcome]:
    answered_before(fleet.db, on)
    made = assign_many(fleet.db, fleet.changes, wanted)
    keep_answer(fleet.db, on, made)
    return made


def _tag(fleet: Fleet, device: str, wanted: TagsRequest, on: Conditions) -> dict[str, str]:
    with fleet.db.write(device_scope(device)) as session:
        on.begin(session)
        get_device(session, device)
        on.match(version_of_device(session, device))
        before = open_rollouts_of(session, device)
        tags = change_tags(session, device, wanted.set, wanted.remove)
        refuse_clash(session, device, before)
        on.end(session, tags)
    fleet.work.set()  # a rollout may have won or lost a device
    return tags
