"""A device asks what it should run: answered from memory, or held until there is something new.

This is most of what a server does all day, so it is plain ASGI: no request object, no thread, no database, unless the
device is one that this process has not heard of.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Container
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.types import Scope, Send

from edgelift_contract.bundle import BUNDLE_HEADER
from edgelift_contract.errors import ContractError
from edgelift_contract.replies import ASSIGNMENT_HEADER, EPOCH_HEADER
from edgelift_contract.signed import NONCE_HEADER, SIGNED_MEDIA
from edgelift_fleet.api.limits import Connection, connection_of
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.parked import Parked
from edgelift_fleet.revisions import Latest, Revisions
from edgelift_fleet.sightings import Caller

MAX_WAIT_S = 60.0
_MAX_EPOCH = 128
_IS_NONCE = re.compile(rb"[0-9a-f]{32}")

_BUNDLE = BUNDLE_HEADER.lower().encode()
_HELD, _EPOCH = ASSIGNMENT_HEADER.lower().encode(), EPOCH_HEADER.lower().encode()
_NONCE = NONCE_HEADER.lower().encode()
_FRESH = (b"cache-control", b"no-store")
_PLAIN, _SIGNED = b"application/json", SIGNED_MEDIA.encode()


class Polls:
    """Answers polls."""

    def __init__(
        self, revisions: Revisions, parked: Parked, seen: LastSeen, bundle_of: Callable[[str], str],
        staying: Container[str] = (),
        hand: Callable[[str, bytes, str], bytes | None] = lambda _device, _assignment, _nonce: None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            revisions: what devices should run.
            parked: those that wait.
            seen: told of every poll.
            bundle_of: device → the bundle that is wanted of it, empty for none.
            staying: devices to whom what they have seen more of is not told again.
            hand: device, assignment, nonce → what it is given signed; None where nothing is signed here.
        """
        self._revisions, self._parked, self._seen, self._bundle_of = revisions, parked, seen, bundle_of
        self._staying, self._hand = staying, hand

    async def answer(self, device: str, scope: Scope, send: Send) -> None:
        """Answer one poll.

        Raises:
            ContractError: `malformed` for a wait that is no number, `not-found` for a device that never enrolled.
        """
        wait_s = _wait_s(scope["query_string"])
        told = _told(scope["headers"])
        known = told.known
        found = await self._look(device)
        # Only what comes is a sighting: who waits here may be gone by the time that it is answered.
        self._seen.touch(device, "http", caller_of(scope))
        if wait_s > 0 and not self._is_news(device, found, told):
            found = await self._wait(device, told, min(wait_s, MAX_WAIT_S), connection_of(scope))
        # Also for one that knows it: should it have given up, it begins again.
        wanted = [(_BUNDLE, bundle.encode())] if (bundle := self._bundle_of(device)) else []
        if self._is_other(device, found, told):
            body, media = await self._body(device, found, told)
            headers = [
                (b"content-type", media), _FRESH, (b"etag", found.etag.encode()),
                (b"content-length", b"%d" % len(body)), *wanted,
            ]  # fmt: skip
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        else:
            body = b""
            headers = [(b"etag", known.encode("latin-1"))] if known else []
            await send({"type": "http.response.start", "status": 304, "headers": [*headers, *wanted]})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, device: str, found: Latest, told: _Told) -> tuple[bytes, bytes]:
        """What is given, and what it calls itself: signed where the device asks for that."""
        if not told.nonce:
            return found.body, _PLAIN
        made = await run_in_threadpool(self._hand, device, found.body, told.nonce)
        return (made, _SIGNED) if made is not None else (found.body, _PLAIN)

    async def _look(self, device: str) -> Latest:
        found = self._revisions.held(device)
        return found if found is not None else await run_in_threadpool(self._revisions.ask, device)

    def _is_news(self, device: str, found: Latest, told: _Told) -> bool:
        return self._is_other(device, found, told) or self._bundle_of(device) not in ("", told.bundle)

    def _is_other(self, device: str, found: Latest, told: _Told) -> bool:
        return _is_other(found, told) and not (device in self._staying and _has_seen(told, found.revision))

    async def _wait(self, device: str, told: _Told, wait_s: float, connection: Connection) -> Latest:
        deadline = time.monotonic() + wait_s
        with self._parked.listening(device) as ear:
            connection.park(ear.release)
            try:
                while True:
                    found = await self._look(device)
                    left_s = deadline - time.monotonic()
                    over = left_s <= 0 or ear.let_go or self._parked.closed
                    if over or self._is_news(device, found, told):
                        return found
                    await ear.wait(left_s)
            finally:
                connection.unpark()


def caller_of(scope: Scope) -> Caller:
    """Which process of the device speaks, and from where."""
    epoch = next((value for name, value in scope["headers"] if name == _EPOCH), b"")
    client = scope.get("client")
    return Caller(epoch.decode("latin-1")[:_MAX_EPOCH], client[0] if client else "")


class _Told(NamedTuple):
    """What a device says that it knows: a revision, as an ETag; the digest of the assignment that it holds; a bundle; and
    what it asks to have signed.
    """

    known: str
    held: str
    bundle: str
    nonce: str


def _told(headers: list[tuple[bytes, bytes]]) -> _Told:
    known = held = bundle = nonce = b""
    for name, value in headers:
        if name == b"if-none-match":
            known = value.removeprefix(b"W/")
        elif name == _HELD:
            held = value
        elif name == _BUNDLE:
            bundle = value
        elif name == _NONCE and _IS_NONCE.fullmatch(value):
            nonce = value
    return _Told(
        known.decode("latin-1"), held.decode("latin-1"), bundle.decode("latin-1"), nonce.decode("latin-1")
    )


def _is_other(found: Latest, told: _Told) -> bool:
    """Is it another assignment than the device knows, by number or, where it says what it holds, by content?"""
    return bool(found.revision) and (found.etag != told.known or told.held not in ("", found.digest))


def _has_seen(told: _Told, revision: int) -> bool:
    """Does the device say that it has seen this number, or a higher one?"""
    number = told.known.strip('"')
    return number.isascii() and number.isdigit() and len(number) < 20 and int(number) >= revision


def _wait_s(query: bytes) -> float:
    if not query:
        return 0.0
    from urllib.parse import parse_qs

    given: Any = parse_qs(query.decode("latin-1")).get("wait_s", ["0"])[-1]
    try:
        wait_s = float(given)
    except ValueError:
        wait_s = -1.0
    if not wait_s >= 0:
        raise ContractError("malformed", "The request's wait_s is not a number of seconds from 0 to 60.")
    return wait_s
