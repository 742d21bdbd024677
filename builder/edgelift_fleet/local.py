"""The site's API without a server: the same application in this process, for commands that need none running.

No thread of its own works, nothing is listened on, and no rollout moves: what is published so is there when a server
starts. The site's lock is held meanwhile, so that a server that starts waits until the command is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from starlette.types import ASGIApp, Message
from urllib3 import HTTPResponse

from edgelift_contract.errors import DeviceError
from edgelift_contract.message_types import prepare_message_types
from edgelift_fleet.api.app import make_app
from edgelift_fleet.client import Client
from edgelift_fleet.db import Database
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.server_file import is_running, site_lock
from edgelift_fleet.site import Site

_URL = "http://site"
_PIECE_BYTES = 1 << 18
_LOOK_S = 0.1


@contextmanager
def client_of(site: Site, *, wait_s: float = 60.0) -> Iterator[Client]:
    """The API of a site: of its running server, else in this process.

    Args:
        site: whose.
        wait_s: how long to wait for a server that is just starting, or for another command that works on the site.

    Raises:
        DeviceError: `already-running` when the site stays held; what opening the site raises.
        ContractError: what migrating its database raises.
    """
    deadline = time.monotonic() + wait_s
    with ExitStack() as stack:
        while True:
            if is_running(site):
                yield Client.of_site(site)
                return
            try:
                stack.enter_context(site_lock(site))
                break
            except DeviceError as error:
                if error.code != "already-running" or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)
        yield stack.enter_context(_in_process(site))


@contextmanager
def _in_process(site: Site) -> Iterator[Client]:
    with closing(Database(site.database)) as db:
        prepare_message_types()
        logging.getLogger("edgelift_fleet").addHandler(
            logging.NullHandler()
        )  # a refusal is told once, by the client
        db.migrate()
        yield Client(_URL, site.secret("operator-token"), adapter=_InProcess(make_app(Fleet(site, db))))


class _InProcess(BaseAdapter):
    """Carries requests to an ASGI application, one after the other."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """One request and its whole answer."""
        status, headers, body = asyncio.run(self._exchange(request))
        response = requests.Response()
        response.status_code, response.url, response.request = status, request.url or "", request
        response.headers = CaseInsensitiveDict((name.decode(), value.decode("latin-1")) for name, value in headers)
        response.raw = HTTPResponse(BytesIO(body), preload_content=False)
        return response

    def close(self) -> None:
        """Nothing is held between requests."""

    async def _exchange(self, request: requests.PreparedRequest) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        begun: dict[str, Any] = {}
        answer = bytearray()
        body = _pieces(request.body)

        async def receive() -> Message:
            async for piece in body:
                return {"type": "http.request", "body": piece, "more_body": True}
            if begun.setdefault("read", False):
                await asyncio.Event().wait()  # this client never goes away
            begun["read"] = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.update(status=message["status"], headers=message.get("headers", []))
            else:
                answer.extend(message.get("body", b""))

        await self._app(_scope(request), receive, send)
        return begun["status"], list(begun["headers"]), bytes(answer)


async def _pieces(body: Any) -> AsyncIterator[bytes]:
    """A request's body piece by piece: bytes, or a file."""
    if not hasattr(body, "read"):
        body = BytesIO(body.encode() if isinstance(body, str) else body or b"")
    while piece := body.read(_PIECE_BYTES):
        yield piece


def _scope(request: requests.PreparedRequest) -> dict[str, Any]:
    parts = urlsplit(request.url or "")
    headers: Mapping[str, Any] = request.headers
    pairs: Iterable[tuple[Any, Any]] = headers.items()
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": request.method, "scheme": "http", "path": unquote(parts.path), "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(), "root_path": "", "client": ("127.0.0.1", 0), "server": ("site", 80),
        "headers": [(_text(name).lower(), _text(value)) for name, value in pairs], "state": {},
    }  # fmt: skip


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("latin-1")
