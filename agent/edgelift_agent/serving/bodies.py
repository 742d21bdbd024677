"""How large a request's body may be, and reading it no further."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from math import prod
from typing import Any

from edgelift_agent.system.memory import return_memory
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.manifest import Manifest

#: Most that one element takes in a body: as a JSON number 25 bytes and, indented, a line of blanks; raw, eight.
ELEMENT_BYTES = 64
#: What stands around the tensors: names, shapes, parameters, an id.
AROUND_BYTES = 64 * 1024
#: After a body of this size memory is given back to the system: what was made of it took several times as much.
LARGE_BYTES = 4 * 1024 * 1024

#: Longer JSON is looked at before it is read: its reading holds the interpreter, and every other request, bytes.
LOOKED_AT_BYTES = 256 * 1024
#: Where a tensor's shape is looked for: at a body's ends, since its data stands in between, bytes.
_END_BYTES = 4096
_SHAPE = re.compile(rb'"shape"\s*:\s*\[([\d,\s]{0,200})\]')

Receive = Callable[[], Awaitable[dict[str, Any]]]


def largest_body(manifest: Manifest, limit_bytes: int) -> int:
    """Most bytes that a request of a model can need, whatever its form; `limit_bytes` where its shapes don't tell."""
    return min(
        limit_bytes, _largest(tuple((spec.dtype, tuple(spec.shape)) for spec in manifest.inputs), limit_bytes)
    )


@lru_cache(maxsize=64)
def _largest(inputs: tuple[tuple[str, tuple[int, ...]], ...], limit_bytes: int) -> int:
    if any(dtype == "BYTES" or -1 in shape for dtype, shape in inputs):
        return limit_bytes
    return AROUND_BYTES + sum(ELEMENT_BYTES * prod(shape) for _, shape in inputs)


def check_claim(text: bytes) -> None:
    """Refuse long JSON of one tensor, not BYTES, that has far more in it than the shape it claims can take.

    Raises:
        ContractError: `too-large`.
    """
    found = _SHAPE.search(text[:_END_BYTES]) or _SHAPE.search(text[-_END_BYTES:])
    if found is None:
        return
    elements = prod(int(size) for size in found[1].split(b",") if size.strip().isdigit())
    limit_bytes = AROUND_BYTES + ELEMENT_BYTES * elements
    if len(text) > limit_bytes:
        raise too_large(str(len(text)), limit_bytes)


class BodyReader:
    """Reads bodies, all of them together within twice the largest."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = 2 * limit_bytes

    @asynccontextmanager
    async def read(self, headers: dict[bytes, bytes], receive: Receive, limit_bytes: int) -> AsyncIterator[bytes]:
        """A request's body: refused by its declared length before it is read, by its true length while it is.

        Its bytes count as taken until the block ends.

        Raises:
            ContractError: `too-large`; `bad-request` when the client went away. DeviceError: `busy`.
        """
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit_bytes):
            raise too_large(declared.decode()[:24], limit_bytes)
        pieces: list[bytes] = []
        size = 0
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ContractError("bad-request", "The client went away before its request was complete.")
                piece = message.get("body", b"")
                size += len(piece)
                self._left -= len(piece)
                if size > limit_bytes:
                    raise too_large(str(size), limit_bytes)
                if self._left < 0:
                    raise DeviceError("busy", "Too many large requests are under way.", hint="Try again shortly.")
                pieces.append(piece)
                more = message.get("more_body", False)
            yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
        finally:
            self._left += size
            if size > LARGE_BYTES:
                pieces.clear()
                return_memory()


def too_large(size: str, limit_bytes: int) -> ContractError:
    """What a client reads whose request is larger than its model, or this device, takes."""
    return ContractError("too-large", f"The request has {size} bytes; at most {limit_bytes} are taken here.")
