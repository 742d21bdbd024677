"""A blob as an HTTP answer: a local one from its file, a far one streamed through, both with ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from edgelift_contract.errors import ContractError
from edgelift_fleet.blobs import Blobs

_TYPE = "application/octet-stream"
_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})\Z")


def blob_answer(blobs: Blobs, sha256: str, headers: Mapping[str, str]) -> Response:
    """The answer to a request for a blob, by its headers. Blocks while a far store is asked for its size.

    Raises:
        ContractError: `missing-blob`.
        EdgeliftError: what the store raises.
    """
    etag = f'"{sha256}"'
    ours = {"ETag": etag, "Cache-Control": "public, max-age=31536000, immutable"}
    path = blobs.path(sha256)
    if path is not None:
        try:
            return _File(path, media_type=_TYPE, headers=ours, stat_result=path.stat())
        except FileNotFoundError:
            pass  # it was collected just now
    size = blobs.size(sha256)
    if size is None:
        raise ContractError("missing-blob", f"There is no blob {sha256[:12]}….")
    wanted = headers.get("range", "") if headers.get("if-range", etag) == etag else ""
    part = parse_range(wanted, size)
    begin, end = part or (0, size)
    ours["Accept-Ranges"] = "bytes"
    if part is not None:
        if begin >= end:
            return Response(status_code=416, headers={**ours, "Content-Range": f"bytes */{size}"})
        ours["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    ours["Content-Length"] = str(end - begin)
    return StreamingResponse(blobs.read(sha256, begin, end), 206 if part else 200, ours, _TYPE)


class _File(FileResponse):
    """A local file, whole or one part of it: whatever else a `Range` asks for is ignored, as at a far store."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name != b"range" or parse_range(value.decode("latin-1"), 1) is not None
        ]
        await super().__call__({**scope, "headers": headers}, receive, send)


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` header asks for, as (begin, end); begin ≥ end for one that lies outside. None, everything,
    for no header, and for one that we don't know (RFC 9110 §14.2 lets a server ignore it). Pure.
    """
    match = _RANGE.match(text)
    if match is None or not (match[1] or match[2]) or (match[1] and match[2] and int(match[1]) > int(match[2])):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    begin = int(match[1])
    return begin, min(size, int(match[2]) + 1) if match[2] else size
