"""Files of a release, sent by whoever publishes it: streamed to the store, never whole in memory."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.ids import check_sha256
from edgelift_fleet.api.conditional import unkeyed
from edgelift_fleet.api.limits import announced_bytes
from edgelift_fleet.api.operator_routes import answer, operator_router
from edgelift_fleet.api.schema import answers
from edgelift_fleet.db import ROWS
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import BlobReply
from edgelift_fleet.unnamed import keep
from edgelift_fleet.uploads import BlobUpload, TakenBlob

#: Largest blob: as large as a length in a header is understood to be.
MAX_BLOB_BYTES = 2**40
#: Blobs that come at once; each holds a piece in memory.
MAX_UPLOADS = 8
_PIECE_BYTES = 1 << 20

_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
}  # fmt: skip


def blob_routes(fleet: Fleet) -> APIRouter:
    """The operators' side of the API: blobs."""
    router = operator_router(fleet, "releases", reads="viewer", changes="operator")
    coming = 0

    @router.put(
        "/v1/blobs/{sha256}",
        openapi_extra=unkeyed("The digest names the content: the same again changes nothing.", _BODY),
        responses=answers(BlobReply, "bad-id", "digest-mismatch"),
    )
    async def put_blob(sha256: Annotated[str, Path(max_length=64)], request: Request) -> Response:
        """A file of a release, by its digest; its length must be said. It is there once it is whole and right; of one that
        broke off nothing is kept: send it again. One that is here already changes nothing, and mends it if it was damaged.
        """
        nonlocal coming
        check_sha256(sha256)
        size_bytes = announced_bytes(request, MAX_BLOB_BYTES)
        if "content-length" not in request.headers:
            raise ContractError("malformed", "The blob's length is not said.", hint="Send a Content-Length.")
        if coming >= MAX_UPLOADS:
            raise TransportError("busy", f"{coming} blobs are coming already.", hint="Send it again soon.")
        coming += 1
        try:
            taken = await _take(fleet, sha256, size_bytes, request)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to be answered
        finally:
            coming -= 1
        return answer(BlobReply(sha256, taken.size_bytes, taken.new, taken.mended))

    return router


async def _take(fleet: Fleet, sha256: str, size_bytes: int, request: Request) -> TakenBlob:
    upload = await run_in_threadpool(fleet.blobs.upload, sha256, size_bytes)
    try:
        await _receive(upload, request)
        taken = await run_in_threadpool(upload.finish)
    finally:
        await run_in_threadpool(upload.discard)
    fleet.publishing.note(sha256)
    if not taken.new:
        await run_in_threadpool(_keep, fleet, sha256)
    return taken


def _keep(fleet: Fleet, sha256: str) -> None:
    """It is here already and about to be named: it must not be collected in between."""
    with fleet.db.write(ROWS) as session:
        keep(session, [sha256])


async def _receive(upload: BlobUpload, request: Request) -> None:
    waiting = bytearray()
    async for piece in request.stream():
        waiting += piece
        if len(waiting) >= _PIECE_BYTES:
            await run_in_threadpool(upload.write, bytes(waiting))
            waiting.clear()
    if waiting:
        await run_in_threadpool(upload.write, bytes(waiting))
