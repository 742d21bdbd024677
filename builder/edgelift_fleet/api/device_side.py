"""The devices' side as one ASGI application in front of the operators': a look at the path, the token, the handler.

A fleet polls thousands of times a second and an operator calls now and then, so the devices' calls are told apart by
hand before anything general sees them (docs/adr/0014).
"""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgelift_contract import routes as routes_
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.ids import check_device_id
from edgelift_fleet.api.device_routes import DeviceRoute
from edgelift_fleet.api.errors import fault, note_undeclared, refusal, refusal_of
from edgelift_fleet.api.guard import Guard
from edgelift_fleet.api.polls import Polls, caller_of
from edgelift_fleet.suspicions import SUSPICIONS, is_suspicious


class DeviceSide:
    """Answers what devices call; everything else goes on to `rest`."""

    def __init__(self, routes: list[DeviceRoute], polls: Polls, guard: Guard, rest: ASGIApp) -> None:
        self._polls, self._guard, self._rest = polls, guard, rest
        self._exact: dict[str, list[DeviceRoute]] = {}
        self._by_ends: dict[tuple[str, str], list[DeviceRoute]] = {}
        for route in routes:
            start, named, end = route.path.partition("{")
            if named:
                self._by_ends.setdefault((start, end.partition("}")[2]), []).append(route)
            else:
                self._exact.setdefault(route.path, []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        routes, name = self._find(scope["path"]) if scope["type"] == "http" else (None, "")
        method = scope["method"] if routes else ""
        route = next((one for one in routes or () if one.method == method), None)
        if route is None:  # a path may also have methods that operators call
            await self._rest(scope, receive, send)
            return
        try:
            if route.guarded:
                device = name if "{device}" in route.path else ""
                came = self._guard.judge(scope, device, enrolling=route.path == routes_.ENROL)
                scope.setdefault("state", {})["came"] = came
            made = await self._answer(route, name, scope, receive, send)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except EdgeliftError as error:
            note_undeclared(route, method, scope["path"], error.code)
            if is_suspicious(error.code, enrols=route.path == routes_.ENROL):
                SUSPICIONS.note(caller_of(scope).address, error.code, error.message)
            made = refusal_of(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told as one, and the next request is answered
            made = refusal(*fault(method, scope["path"], error))
        if made is not None:
            await made(scope, receive, send)

    def _find(self, path: str) -> tuple[list[DeviceRoute] | None, str]:
        if (found := self._exact.get(path)) is not None:
            return found, ""
        for (start, end), routes in self._by_ends.items():
            if path.startswith(start) and path.endswith(end):
                name = path[len(start) : len(path) - len(end)]
                if name and "/" not in name:
                    return routes, name
        return None, ""

    async def _answer(
        self, route: DeviceRoute, name: str, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """What is to be answered; None when it has been."""
        if route.handler is not None:
            return await route.handler(Request(scope, receive), name)
        await self._polls.answer(check_device_id(name), scope, send)
        return None
