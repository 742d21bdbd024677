"""ETags of what operators read: `If-None-Match` is answered 304 where nothing is new.

Every JSON answer of a GET that is made whole gets one, a digest of its bytes; what is streamed gets none. A thing that can
be changed has a tag of two parts, `"<version>-<digest>"`: `If-Match` compares the version alone, see `conditional`.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgelift_contract import codec

_SAID = {"description": "Changes when the answer does.", "schema": {"type": "string"}}
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')


def tagged(message: Any, version: str, *, same: Any = None) -> Response:
    """`message` as JSON, with a tag.

    Args:
        message: what is answered.
        version: of what can be changed about it.
        same: what the tag is of, where `message` also tells the time; else that itself.
    """
    body = codec.canonical_json(message)
    digest = digest_of(body if same is None else codec.canonical_json(same))
    return Response(body, headers={"ETag": f'"{version}-{digest}"'}, media_type="application/json")


def read_tags(header: str) -> list[str] | None:
    """The strong tags in `If-Match`, without quotes, and `*`; None for a header that names none. Pure."""
    if header.strip() == "*":
        return ["*"]
    found = _TAG.findall(header)
    return [tag for weak, tag in found if not weak] if found else None


def say_tags(operation: dict[str, Any]) -> None:
    """Say in an operation of the OpenAPI document, of a GET, that its answer has a tag; nothing where it has none."""
    done = operation["responses"].get("200", {})
    if list(done.get("content", ())) != ["application/json"]:
        return
    done["headers"] = {**done.get("headers", {}), "ETag": _SAID}
    operation["responses"]["304"] = {"description": "Nothing is new.", "headers": {"ETag": _SAID}}
    operation.setdefault("parameters", []).append(
        {"name": "If-None-Match", "in": "header", "required": False, "description": "ETags that are known.",
         "schema": {"type": "string"}}
    )  # fmt: skip


def digest_of(body: bytes) -> str:
    """What a tag is made of: of these bytes alone."""
    return codec.digest(body)[:32]


class Tagged:
    """Gives the JSON answers of `app` their tags."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        known = b", ".join(value for name, value in scope["headers"] if name == b"if-none-match")
        await self._app(scope, receive, _Tagging(known.decode("latin-1"), send))


class _Tagging:
    """Sends one answer on: what is whole when its first piece comes gets a tag, or becomes a 304."""

    def __init__(self, known: str, send: Send) -> None:
        self._known, self._send = known, send
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body", False):
                message = self._tag(start, message)
            await self._send(start)
        await self._send(message)

    def _tag(self, start: Message, message: Message) -> Message:
        headers = MutableHeaders(raw=start["headers"])
        tag = headers.get("ETag")
        if tag is None:
            headers["ETag"] = tag = f'"{digest_of(message.get("body", b""))}"'
        if self._known.strip() != "*" and tag not in (f'"{one}"' for _, one in _TAG.findall(self._known)):
            return message
        start["status"] = 304
        for name in ("content-length", "content-type"):
            del headers[name]
        return {**message, "body": b""}


def _is_json(start: Message) -> bool:
    kinds = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return start["status"] == 200 and kinds[:1] == [b"application/json"]
