"""The console as one ASGI application before the operators' API: pages at their paths, everything else goes on to the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edgelift_contract.errors import ContractError, EdgeliftError, TransportError
from edgelift_fleet.api.errors import fault, status_of
from edgelift_fleet.api.limits import connection_of, read_body
from edgelift_fleet.console.fleet_page import fleet_page
from edgelift_fleet.console.inner import Answered, Inner, read
from edgelift_fleet.console.rendering import HEADERS, page
from edgelift_fleet.console.session import cookie_name, form_key, is_own_form, set_cookie, token_in
from edgelift_fleet.device_filter import DeviceFilter
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import Problem
from edgelift_fleet.messages.people import LoggedIn, LoginRequest
from edgelift_fleet.paging import Wish
from edgelift_fleet.people.roles import Principal

_STATIC = Path(__file__).parent / "static"
_FILES = {path.name: path for path in _STATIC.iterdir()} if _STATIC.is_dir() else {}
_MAX_FORM_BYTES = 64 * 1024
_PAGE = 100

Shown = Callable[[Request, Principal, str], Awaitable[Response]]


class Console:
    """Answers people's pages; everything else goes on to `api`."""

    def __init__(self, fleet: Fleet, api: ASGIApp) -> None:
        self._fleet, self._api, self._inner = fleet, api, Inner(api)
        self._secure = fleet.site.config.tls
        self._open: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            ("GET", "/login"): self._login_page, ("POST", "/login"): self._log_in, ("POST", "/logout"): self._log_out,
        }  # fmt: skip
        self._pages: dict[str, Shown] = {"/": self._front}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = self._answering(scope) if scope["type"] == "http" else None
        if answer is None:
            await self._api(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            made = await answer(request)
        except EdgeliftError as error:
            made = self._refused(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours is told as one, and the next request is answered
            status, code, message, hint = fault(scope["method"], scope["path"], error)
            made = page("problem.html", status, code=code, message=message, hint=hint, site=self._site, who=None, form="")
        await made(scope, receive, send)

    @property
    def _site(self) -> str:
        return self._fleet.site.config.name

    def _answering(self, scope: Scope) -> Callable[[Request], Awaitable[Response]] | None:
        method, path = scope["method"], scope["path"]
        if (found := self._open.get((method, path))) is not None:
            return found
        if method in ("GET", "HEAD") and path.startswith("/static/"):
            return self._static
        if method in ("GET", "HEAD") and path in self._pages:
            return partial(self._shown, self._pages[path])
        return None

    async def _static(self, request: Request) -> Response:
        found = _FILES.get(request.url.path.removeprefix("/static/"))
        if found is None:
            raise ContractError("not-found", f"There is nothing at {request.url.path[:200]}.")
        return FileResponse(found, headers={**HEADERS, "Cache-Control": "max-age=3600"})

    # --- who looks

    async def _shown(self, show: Shown, request: Request) -> Response:
        token = token_in(request.cookies, secure=self._secure)
        try:
            who = await self._principal(token)
        except TransportError as error:
            if error.code != "not-authorised":
                raise
            return RedirectResponse("/login", 303, dict(HEADERS))
        connection_of(request.scope).let_in()
        return await show(request, who, token)

    async def _principal(self, token: str) -> Principal:
        if not token:
            raise TransportError("not-authorised", "Nobody is logged in.")
        known = self._fleet.people.known
        return known.at_hand(token) or await run_in_threadpool(known.look_up, token)

    async def _login_page(self, _request: Request) -> Response:
        return page("login.html", site=self._site, who=None, form="", refused="", name="")

    async def _log_in(self, request: Request) -> Response:
        self._judge_origin(request)
        form = await _form(request)
        asked = LoginRequest(form.get("name", ""), form.get("password", ""))
        answered = await self._inner.ask(request, "", "POST", "/v1/login", asked)
        if answered.refused:
            return self._again(answered, asked.name)
        made: LoggedIn = read(answered, LoggedIn)
        cookie = set_cookie(made.token, secure=self._secure, max_age_s=asked.hours * 3600)
        return RedirectResponse("/", 303, {**HEADERS, "Set-Cookie": cookie})

    def _again(self, answered: Answered, name: str) -> Response:
        problem: Problem = read(answered, Problem)
        words = {"site": self._site, "who": None, "form": "", "refused": problem.error, "name": name}
        return page("login.html", answered.status, **words)

    async def _log_out(self, request: Request) -> Response:
        token = token_in(request.cookies, secure=self._secure)
        form = await _form(request)
        if not is_own_form(token, form.get("form", "")):
            raise ContractError("malformed", "The form is of another session.", hint="Load the page again.")
        await self._inner.ask(request, token, "POST", "/v1/logout")
        gone = set_cookie("", secure=self._secure, max_age_s=0)
        return RedirectResponse("/login", 303, {**HEADERS, "Set-Cookie": gone})

    @staticmethod
    def _judge_origin(request: Request) -> None:
        """A form without a session: another site's page must not log somebody in here as somebody else."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ContractError("malformed", "The form comes from another site's page.")

    def _refused(self, error: EdgeliftError) -> Response:
        words = {"code": error.code, "message": error.message, "hint": error.hint, "site": self._site, "who": None, "form": ""}
        return page("problem.html", status_of(error), **words)

    # --- pages

    async def _front(self, request: Request, who: Principal, token: str) -> Response:
        asked = request.query_params
        wanted = DeviceFilter(
            asked.get("to", ""), asked.get("class", ""), tuple(asked.getlist("tag")), asked.get("release", ""),
            _truth(asked.get("failing")), _truth(asked.get("online")),
        )  # fmt: skip
        found = await run_in_threadpool(self._read, wanted, Wish(_PAGE, asked.get("after", ""), asked.get("sort", "")))
        words: dict[str, Any] = {"site": self._site, "who": who, "form": form_key(token), "asked": asked, "fleet": found}
        return page("_fleet.html" if "partial" in asked else "fleet.html", **words)

    def _read(self, wanted: DeviceFilter, wish: Wish) -> Any:
        with self._fleet.db.read() as session:
            return fleet_page(session, self._fleet.seen, wanted, wish)


def _truth(text: str | None) -> bool | None:
    return {"true": True, "false": False}.get(text or "")


async def _form(request: Request) -> dict[str, str]:
    """A form's fields, the last of each name. Raises ContractError `too-large`, `malformed`."""
    body = await read_body(request, _MAX_FORM_BYTES)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200, strict_parsing=bool(body)))
    except ValueError as error:
        raise ContractError("malformed", "The form can't be read.") from error


__all__ = ["Console", "cookie_name"]
