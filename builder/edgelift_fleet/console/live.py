"""A page that refreshes itself: who looks at it is told when to look again, and many who look cost what one costs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from edgelift_fleet.api.limits import connection_of
from edgelift_fleet.console.rendering import HEADERS
from edgelift_fleet.parked import Parked

#: How often a page is looked at again, seconds: one that changes from second to second, and any other.
LIVELY_S, CALM_S = 2.0, 10.0
#: Of a core, that a page which is looked at may take for being drawn anew.
SHARE = 0.006
#: Parts of pages that are remembered.
MAX_KEPT = 256
#: No device has this id: a slash is none of its characters.
_VIEWERS = "/live"


class DrawnPart(NamedTuple):
    """The part of a page that is refreshed, as it was drawn: `tag` tells it from others; it is good for `fresh_s`."""

    html: str
    tag: str
    fresh_s: float


class Parts:
    """Parts as they were drawn a moment ago, for all who look at the same thing. To be used in one loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: OrderedDict[tuple[str, ...], tuple[float, asyncio.Future[DrawnPart]]] = OrderedDict()

    async def get(self, key: tuple[str, ...], draw: Callable[[], Awaitable[tuple[str, bool]]]) -> DrawnPart:
        """A part that is no older than its kind allows, drawn anew otherwise; raises as `draw`."""
        while (found := self._kept.get(key)) is not None:
            at, future = found
            try:
                part = await asyncio.shield(future)
            except asyncio.CancelledError:
                if not future.cancelled():
                    raise  # who asked is gone, not who draws
                self._forget(key, future)
                continue
            if self._now() - at < part.fresh_s:
                return part
            if self._kept.get(key) is found:
                break
        return await self._drawn(key, draw)

    async def _drawn(self, key: tuple[str, ...], draw: Callable[[], Awaitable[tuple[str, bool]]]) -> DrawnPart:
        future: asyncio.Future[DrawnPart] = asyncio.get_running_loop().create_future()
        self._kept[key] = (self._now(), future)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        began = self._now()
        try:
            html, lively = await draw()
        except BaseException as error:
            self._forget(key, future)
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # it is raised here: nobody else need have waited for it
            raise
        took_s = self._now() - began
        part = DrawnPart(
            html, f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"', fresh_s(took_s, lively=lively)
        )
        future.set_result(part)
        return part

    def _forget(self, key: tuple[str, ...], future: asyncio.Future[DrawnPart]) -> None:
        if (found := self._kept.get(key)) is not None and found[1] is future:
            del self._kept[key]


def fresh_s(took_s: float, *, lively: bool) -> float:
    """How long a part that took so long to draw is good for, seconds. Pure.

    A little less than the time between two looks, so that each look sees something new; but longer where drawing takes long,
    so that a page that somebody has open never costs more than its share.
    """
    return max(0.75 * (LIVELY_S if lively else CALM_S), took_s / SHARE)


class Pulse:
    """A stream of server-sent events that says when to look again (HTML Living Standard §9.2), as an ASGI application."""

    def __init__(self, parked: Parked, let_in: Callable[[], Awaitable[bool]], *, every_s: float) -> None:
        """Bind.

        Args:
            parked: holds it; lets it go when the server stops.
            let_in: may they still look? Asked at each beat.
            every_s: between two beats, seconds.
        """
        self._parked, self._let_in, self._every_s = parked, let_in, every_s

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send beats until nobody listens, their place is needed, or they may look no longer."""
        headers = {**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send(_event(f"retry: {int(LIVELY_S * 1000)}\n\n"))
        connection = connection_of(scope)
        with self._parked.listening(_VIEWERS) as ear:
            connection.park(ear.release)
            try:
                while True:
                    await ear.wait(self._every_s)
                    if ear.let_go or self._parked.closed:
                        break
                    if not await self._let_in():
                        await send(_event("event: gone\ndata: \n\n"))
                        break
                    await send(_event("event: look\ndata: \n\n"))
            finally:
                connection.unpark()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
