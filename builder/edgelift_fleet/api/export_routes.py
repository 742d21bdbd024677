"""What is carried to a device without a network: its assignment, signed for a while, and the files that it needs."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_sha256
from edgelift_contract.manifest import parse_manifest
from edgelift_fleet.api.asked import decode_asked
from edgelift_fleet.api.blob_answer import blob_answer
from edgelift_fleet.api.conditional import needing, unkeyed
from edgelift_fleet.api.declared import refusals
from edgelift_fleet.api.limits import read_body
from edgelift_fleet.api.operator_routes import MAX_OPERATOR_BYTES, answer, operator_router
from edgelift_fleet.api.schema import answers, asks
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import CarriedFile, Exported, ExportRequest
from edgelift_fleet.trust.image import Listed

_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    **refusals(("bad-id", "missing-blob")),
}


def export_routes(fleet: Fleet) -> APIRouter:
    """The routes of what is carried."""
    router = operator_router(fleet, "trust", reads="viewer", changes="operator")

    @router.post(
        "/v1/devices/{device}/export",
        openapi_extra=unkeyed("It is signed anew each time; nothing else changes.", asks(ExportRequest)),
        responses=answers(Exported, "bad-id", "not-found", "not-genuine"),
    )
    async def export_assignment(device: str, request: Request) -> Response:
        """Sign a device's assignment to be carried to it: it answers no question of the device, so it expires."""
        wanted = decode_asked(await read_body(request, MAX_OPERATOR_BYTES), ExportRequest)
        return answer(await run_in_threadpool(_export, fleet, device, wanted.days))

    @router.get("/v1/export/{sha256}", openapi_extra=needing("operator"), responses=_FILE)
    async def export_file(sha256: Annotated[str, Path(max_length=64)], request: Request) -> Response:
        """A file that is carried along, by its digest. Takes `Range` and `If-Range`; never changes."""
        return await run_in_threadpool(blob_answer, fleet.blobs, check_sha256(sha256), request.headers)

    return router


def _export(fleet: Fleet, device: str, days: int) -> Exported:
    assigned = fleet.revisions.ask(device)
    handing = fleet.handing
    if handing is None:
        raise ContractError(
            "not-found", "This site signs nothing: what is carried could be anybody's.",
            hint="Make keys: edgelift keys create.",
        )  # fmt: skip
    if not assigned.body:
        raise ContractError(
            "not-found",
            f"Nothing is assigned to {device} yet.",
            hint=f"edgelift assign MODEL@VERSION --device {device}",
        )
    carried = handing.carry(device, assigned.body, days=days)
    return Exported(
        device=device, revision=carried.revision, expires_at=carried.expires_at,
        signed=base64.b64encode(carried.signed).decode(), files=_needed(fleet.blobs, carried.artifacts),
    )  # fmt: skip


def _needed(blobs: Blobs, artifacts: tuple[Listed, ...]) -> list[CarriedFile]:
    sizes: dict[str, int] = {}
    for one in artifacts:
        sizes[one.artifact] = one.manifest_bytes
        manifest = parse_manifest(b"".join(blobs.read(one.artifact, 0, one.manifest_bytes)))
        sizes |= {file.sha256: file.size_bytes for file in manifest.files}
    return [CarriedFile(sha256, size) for sha256, size in sorted(sizes.items())]
