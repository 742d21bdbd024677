"""What goes back to a client: status, body, headers, and errors in the protocol's form."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from edgelift_contract.errors import EdgeliftError

#: Length of a body's JSON part, when binary tensors follow it.
HEADER_LENGTH = b"inference-header-content-length"

_JSON, _BINARY = b"application/json", b"application/octet-stream"
_STATUS = {
    "bad-request": 400,
    "conflict": 400,
    "not-found": 404,
    "too-large": 413,
    "not-in-json": 400,
    "deadline-passed": 504,
    "busy": 503,
    "not-serving": 503,
    "no-memory": 503,
}
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: HTTP's.
        body: all of it.
        kind: its media type.
        extra: further headers, names in lower case.
    """

    status: int = 200
    body: bytes = b""
    kind: bytes = _JSON
    extra: tuple[tuple[bytes, bytes], ...] = ()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """All headers, as ASGI takes them."""
        return [(b"content-type", self.kind), (b"content-length", b"%d" % len(self.body)), *self.extra]

    def to_bytes(self) -> bytes:
        """The whole answer on an HTTP/1.1 connection that stays open."""
        extra = b"".join([b"%b: %b\r\n" % header for header in self.extra]) if self.extra else b""
        form = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b"
        return form % (_STATUS_LINES[self.status], self.kind, len(self.body), extra, self.body)


def json_reply(message: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, orjson.dumps(message))


def tensors_reply(pieces: list[bytes], json_length: int | None) -> Reply:
    """An inference's answer; see `protocol.Codec.encode` for its arguments."""
    if json_length is None:
        return Reply(200, pieces[0])
    return Reply(200, b"".join(pieces), _BINARY, ((HEADER_LENGTH, b"%d" % json_length),))


def error_reply(error: EdgeliftError) -> Reply:
    """What a client reads of an error; 503 says when to come again."""
    status = _STATUS.get(error.code, 500)
    extra = ((b"retry-after", b"1"),) if status == 503 else ()
    return Reply(status, orjson.dumps({"error": str(error), "code": error.code}), extra=extra)
