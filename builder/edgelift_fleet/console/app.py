"""The console as one ASGI application before the operators' API: pages at their paths, all else goes on to the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_fleet.api.errors import fault, problem, status_of
from edgelift_fleet.console.entry import LOGIN, LOGOUT, LoginDesk
from edgelift_fleet.console.forms import read_form
from edgelift_fleet.console.inner import Inner, read
from edgelift_fleet.console.kinds import ConsolePage, Form, PageAsked, match
from edgelift_fleet.console.live import CALM_S, LIVELY_S, Parts, Pulse
from edgelift_fleet.console.pages import FORMS, PAGES
from edgelift_fleet.console.rendering import HEADERS, page, render
from edgelift_fleet.console.session import judge_origin
from edgelift_fleet.console.statics import static_files
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import Problem
from edgelift_fleet.people.roles import Principal, rank

PULSE, STATIC = "/pulse", "/static/"
_Answer = Callable[[Request], Awaitable[ASGIApp]]


class Console:
    """Answers people's pages; everything else goes on to `api`."""

    def __init__(
        self, fleet: Fleet, api: ASGIApp, pages: Sequence[ConsolePage] = PAGES, forms: Sequence[Form] = FORMS
    ) -> None:
        self._fleet, self._api, self._pages, self._forms = fleet, api, pages, forms
        self._inner = Inner(api)
        self._entry = LoginDesk(fleet, self._inner)
        self._parts = Parts()
        self._open: dict[tuple[str, str], _Answer] = {
            ("GET", LOGIN): self._login_page, ("POST", LOGIN): self._entry.log_in, ("POST", LOGOUT): self._entry.log_out,
            ("GET", PULSE): self._pulse,
        }  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = self._answering(scope) if scope["type"] == "http" else None
        if answer is None:
            await self._api(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            made = await answer(request)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except EdgeliftError as error:
            made = self._refused(request, error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told as one, and the next request is answered
            made = self._problem(request, *fault(scope["method"], scope["path"], error))
        await made(scope, receive, send)

    def _answering(self, scope: Scope) -> _Answer | None:
        method, path = scope["method"], scope["path"]
        if (found := self._open.get((method, path))) is not None:
            return found
        if method == "GET" and path.startswith(STATIC):
            return _static
        for one in self._pages if method == "GET" else ():
            if (named := match(one.path, path)) is not None:
                return partial(self._shown, one, named)
        for form in self._forms if method == "POST" else ():
            if (named := match(form.path, path)) is not None:
                return partial(self._sent, form, named)
        if method == "GET" and _is_lost(scope):
            return _nothing_here
        return None

    async def _login_page(self, request: Request) -> Response:
        return self._entry.page(then=request.query_params.get("then", ""))

    # --- pages

    async def _shown(self, one: ConsolePage, named: dict[str, str], request: Request) -> Response:
        who = await self._entry.who(request)
        who.require(one.least)
        asked = PageAsked(who, request.query_params, named)
        if wants_json(request):
            data = await run_in_threadpool(one.read, self._fleet, asked)
            return Response(
                codec.canonical_json(data), headers={**HEADERS, "Vary": "Accept"}, media_type="application/json"
            )
        if "partial" in asked.query:
            return await self._part(one, asked, request)
        data = await run_in_threadpool(one.read, self._fleet, asked)
        said = {
            **self._said(who, request),
            "pulse": f"{PULSE}?lively={int(one.lively(data))}",
            "partial": one.partial,
        }
        return await run_in_threadpool(page, one.template, **said, data=data, asked=asked)

    async def _part(self, one: ConsolePage, asked: PageAsked, request: Request) -> Response:
        """What is refreshed, alone: drawn once for all who look at it with the same role."""

        async def draw() -> tuple[str, bool]:
            data = await run_in_threadpool(one.read, self._fleet, asked)
            said = {**self._said(asked.who, request), "data": data, "asked": asked}
            return await run_in_threadpool(render, one.partial, **said), bool(one.lively(data))

        part = await self._parts.get((asked.who.role, request.url.path, str(request.query_params)), draw)
        headers = {**HEADERS, "ETag": part.tag}
        if request.headers.get("if-none-match") == part.tag:
            return Response(status_code=304, headers=headers)
        return Response(part.html, headers=headers, media_type="text/html")

    async def _pulse(self, request: Request) -> ASGIApp:
        token = self._entry.token_of(request)
        await self._entry.who(request)

        async def let_in() -> bool:
            try:
                await self._entry.known(token)
            except EdgeliftError as error:
                return error.code != "not-authorised"  # a database that is away ends no session
            return True

        lively = request.query_params.get("lively") == "1"
        return Pulse(self._fleet.parked, let_in, every_s=LIVELY_S if lively else CALM_S)

    # --- forms

    async def _sent(self, form: Form, named: dict[str, str], request: Request) -> Response:
        judge_origin(request.headers)
        who = await self._entry.who(request)
        fields = await read_form(request)
        order = form.order(named, fields)
        answered = await self._inner.ask(
            request, self._entry.token_of(request), order.method, order.path, order.body,
            why=fields.get("why", "").strip(), key=fields.get("key", ""),
        )  # fmt: skip
        if answered.refused:
            told: Problem = read(answered, Problem)
            return self._problem(request, answered.status, told.code, told.error, told.hint, who)
        if order.shows:
            return page(
                order.shows, **self._said(who, request), made=read(answered, dict[str, Any]), then=order.then
            )
        then = order.leads_to(read(answered, dict[str, Any])) if order.asks_answer else order.then
        return RedirectResponse(then, 303, dict(HEADERS))

    # --- what all pages say

    def _said(self, who: Principal | None, request: Request) -> dict[str, Any]:
        may = [one for one in self._pages if one.nav and who is not None and rank(who.role) >= rank(one.least)]
        path = request.url.path
        within = next((one.within for one in self._pages if match(one.path, path) is not None), "")
        at = max((one.path for one in may if under(one.path, path)), key=len, default=within)
        return {"site": self._fleet.site.config.name, "who": who, "nav": may, "here": at}

    def _refused(self, request: Request, error: EdgeliftError) -> Response:
        if error.code == "not-authorised" and not wants_json(request):
            if "partial" in request.query_params or request.url.path == PULSE:
                return Response(status_code=401, headers=dict(HEADERS))
            then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            address = f"{LOGIN}?{urlencode({'then': then})}" if request.method == "GET" and then != "/" else LOGIN
            return RedirectResponse(address, 303, dict(HEADERS))
        return self._problem(request, status_of(error), error.code, error.message, error.hint)

    def _problem(
        self, request: Request, status: int, code: str, message: str, hint: str = "", who: Principal | None = None
    ) -> Response:
        if wants_json(request):
            return problem(request, status, code, message, hint)
        return page("problem.html", status, **self._said(who, request), code=code, message=message, hint=hint)


def _is_lost(scope: Scope) -> bool:
    """Is it somebody's browser that asks for a page, and not a program that asks the API?"""
    accepted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return b"text/html" in accepted and not scope["path"].startswith(("/v1/", "/openapi"))


async def _nothing_here(request: Request) -> Response:
    raise ContractError("not-found", f"There is nothing at {request.url.path[:200]}.")


async def _static(request: Request) -> Response:
    found = static_files().get(request.url.path.removeprefix(STATIC))
    if found is None:
        raise ContractError("not-found", f"There is nothing at {request.url.path[:200]}.")
    body, media, tag = found
    headers = {
        **HEADERS,
        "Cache-Control": "no-cache",
        "ETag": tag,
    }  # asked for again, and answered by "still the same"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media)


def wants_json(request: Request) -> bool:
    """Does somebody ask for a page's data rather than for the page?"""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def under(root: str, path: str) -> bool:
    """Does a path lie at or below a page's? The first page has nothing below it."""
    return path == root or (root != "/" and path.startswith(root + "/"))
