"""What devices call: enrolment, their assignment by long poll, reports, telemetry, blobs by ranges."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_device_id, check_sha256
from edgelift_contract.replies import ASSIGNMENT_HEADER, EPOCH_HEADER, BatchReply, ReportReply
from edgelift_contract.report import MAX_REPORT_BYTES, Report
from edgelift_contract.telemetry import MAX_BATCH_BYTES, Batch
from edgelift_fleet.api.limits import RequireBearer, read_body
from edgelift_fleet.api.schema import answers, takes
from edgelift_fleet.devices import get_device
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.intake import MAX_ENROL_BYTES
from edgelift_fleet.sightings import NOBODY, Caller
from edgelift_fleet.tables import AssignmentRow

MAX_WAIT_S = 60.0
POLL_WAIT_S = 30.0

_JSON = "application/json"
_MAX_EPOCH = 128


def device_routes(fleet: Fleet) -> APIRouter:
    """The devices' side of the API."""
    token = fleet.site.secret("enrolment-token")
    router = APIRouter(tags=["devices"], dependencies=[Depends(RequireBearer(token, name="enrolment token"))])

    @router.post("/v1/enroll", openapi_extra=takes(EnrolRequest), responses=answers(EnrolReply))
    async def enroll(request: Request) -> Response:
        """A device introduces itself, at every start. The reply tells how to reach the broker, if there is one."""
        body = await read_body(request, MAX_ENROL_BYTES)
        return await run_in_threadpool(_enroll, fleet, body, request)

    @router.get(
        "/v1/devices/{device}/desired", responses={**answers(Assignment), 304: {"description": "No news."}}
    )
    async def desired(
        device: str, request: Request, wait_s: Annotated[float, Query(ge=0, description="Seconds, ≤ 60.")] = 0.0
    ) -> Response:
        """The device's assignment; its ETag is the revision in quotes. With `If-None-Match` and `wait_s` the
        request is held until there is another revision, or answered 304. Before the first assignment: 304.
        """
        check_device_id(device)
        known = request.headers.get("if-none-match", "").removeprefix("W/")
        held = request.headers.get(ASSIGNMENT_HEADER, "")
        return await _desired(fleet, device, known, held, min(wait_s, MAX_WAIT_S), caller=_caller(request))

    @router.put("/v1/devices/{device}/report", openapi_extra=takes(Report), responses=answers(ReportReply))
    async def report(device: str, request: Request) -> Response:
        """What the device runs. An older report than the last changes nothing and is answered alike."""
        check_device_id(device)
        body = await read_body(request, MAX_REPORT_BYTES)
        address = _caller(request).address
        reply = await run_in_threadpool(fleet.intake.report, device, body, via="http", address=address)
        return Response(codec.canonical_json(reply), media_type=_JSON)

    @router.post("/v1/devices/{device}/telemetry", openapi_extra=takes(Batch), responses=answers(BatchReply))
    async def telemetry(device: str, request: Request) -> Response:
        """Windows, swap records and events. Items that came before, by (device, epoch, seq), change nothing."""
        check_device_id(device)
        body = await read_body(request, MAX_BATCH_BYTES)
        reply = await run_in_threadpool(fleet.intake.telemetry, device, body, via="http")
        fleet.seen.touch(device, "http", _caller(request))
        return Response(codec.canonical_json(reply), media_type=_JSON)

    @router.get("/v1/blobs/{sha256}", response_class=FileResponse)
    def blob(sha256: str) -> Response:
        """A file of a release, by its digest. Takes `Range` and `If-Range`; never changes."""
        path = fleet.blobs.path(check_sha256(sha256))
        if path is None:
            raise ContractError("missing-blob", f"There is no blob {sha256[:12]}….")
        headers = {"ETag": f'"{sha256}"', "Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(path, media_type="application/octet-stream", headers=headers)

    return router


def _caller(request: Request) -> Caller:
    """Which process of the device speaks, and from where."""
    epoch = request.headers.get(EPOCH_HEADER, "")[:_MAX_EPOCH]
    return Caller(epoch, request.client.host if request.client else "")


def _enroll(fleet: Fleet, body: bytes, http: Request) -> Response:
    request = fleet.intake.enrol(body)
    fleet.seen.touch(request.device, "http", _caller(http))
    reply = EnrolReply(
        schema=EnrolReply.SCHEMA,
        device=request.device,
        broker=fleet.broker_access(request.device, http.url.hostname or ""),
        poll_wait_s=POLL_WAIT_S,
    )
    return Response(codec.canonical_json(reply), media_type=_JSON)


async def _desired(fleet: Fleet, device: str, known: str, held: str, wait_s: float, *, caller: Caller) -> Response:
    deadline = time.monotonic() + wait_s
    with fleet.changes.listening(device) as changed:
        while True:
            changed.clear()
            found = await run_in_threadpool(_look, fleet, device)
            # Only what came counts as a sighting: who waits here may be gone by the time that this loop looks again.
            fleet.seen.touch(device, "http", caller)
            caller = NOBODY
            if found is not None and _is_other(found, known, held):
                headers = {"ETag": f'"{found[0]}"', "Cache-Control": "no-store"}
                return Response(found[1], media_type=_JSON, headers=headers)
            left_s = deadline - time.monotonic()
            if left_s <= 0 or fleet.changes.closed:
                return Response(status_code=304, headers={"ETag": known} if known else {})
            try:
                await asyncio.wait_for(changed.wait(), left_s)
            except asyncio.TimeoutError:
                pass  # nothing new: the loop looks once more and answers 304


def _is_other(found: tuple[int, str], known: str, held: str) -> bool:
    """Is it another assignment than the device knows, by number or, where it says what it holds, by content?"""
    revision, body = found
    return f'"{revision}"' != known or held not in ("", codec.digest(body.encode()))


def _look(fleet: Fleet, device: str) -> tuple[int, str] | None:
    with fleet.db.read() as session:
        row = session.get(AssignmentRow, device)
        if row is None:
            get_device(session, device)  # "not yet assigned" and "never enrolled" are different answers
            return None
        return row.revision, row.body
