"""How somebody comes in and goes: logging in gives the browser a cookie, logging out takes it back."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edgelift_contract.errors import TransportError
from edgelift_fleet.api.guard import bearer_of
from edgelift_fleet.api.limits import connection_of
from edgelift_fleet.console.forms import read_form
from edgelift_fleet.console.inner import Inner, read
from edgelift_fleet.console.rendering import HEADERS, page
from edgelift_fleet.console.session import judge_origin, set_cookie, token_in
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import Problem
from edgelift_fleet.messages.people import LoggedIn, LoginRequest
from edgelift_fleet.people.access import looks_like_access
from edgelift_fleet.people.roles import Principal

LOGIN, LOGOUT = "/login", "/logout"


class LoginDesk:
    """Lets people in and out."""

    def __init__(self, fleet: Fleet, inner: Inner) -> None:
        self._fleet, self._inner = fleet, inner
        self._site, self._secure = fleet.site.config.name, fleet.site.config.tls

    def token_of(self, request: Request) -> str:
        """What a request shows: its cookie, or an access token as bearer, as a program sends it; empty for none."""
        return token_in(request.cookies, secure=self._secure) or bearer_of(request.scope)

    async def who(self, request: Request) -> Principal:
        """Who looks. Raises TransportError `not-authorised`, the database's."""
        found = await self.known(self.token_of(request))
        connection_of(request.scope).let_in()
        return found

    async def known(self, token: str) -> Principal:
        """Whose token it is. Raises TransportError `not-authorised`, the database's."""
        if not looks_like_access(token):
            raise TransportError("not-authorised", "Nobody is logged in.", hint=f"Log in at {LOGIN}.")
        known = self._fleet.people.known
        found = known.at_hand(token)
        return found if found is not None else await run_in_threadpool(known.look_up, token)

    def page(self, *, then: str = "", refused: str = "", name: str = "", status: int = 200) -> Response:
        """Where people log in."""
        return page(
            "login.html",
            status,
            site=self._site,
            who=None,
            nav=(),
            here="",
            refused=refused,
            name=name,
            then=own_path(then),
        )

    async def log_in(self, request: Request) -> Response:
        """Log in by a name and a password. Raises ContractError `malformed`, `too-large`."""
        judge_origin(request.headers)
        form = await read_form(request)
        asked, then = LoginRequest(form.get("name", ""), form.get("password", "")), form.get("then", "")
        answered = await self._inner.ask(request, "", "POST", "/v1/login", asked)
        if answered.refused:
            problem: Problem = read(answered, Problem)
            return self.page(then=then, refused=problem.error, name=asked.name, status=answered.status)
        made: LoggedIn = read(answered, LoggedIn)
        connection_of(request.scope).let_in()
        cookie = set_cookie(made.token, secure=self._secure, max_age_s=asked.hours * 3600)
        return RedirectResponse(own_path(then), 303, {**HEADERS, "Set-Cookie": cookie})

    async def log_out(self, request: Request) -> Response:
        """End the session. Raises ContractError `malformed`."""
        judge_origin(request.headers)
        await self._inner.ask(request, self.token_of(request), "POST", "/v1/logout")
        gone = set_cookie("", secure=self._secure, max_age_s=0)
        return RedirectResponse(LOGIN, 303, {**HEADERS, "Set-Cookie": gone})


def own_path(then: str) -> str:
    """Where somebody wanted to go, if that is a page of ours; else the first one. Pure."""
    is_own = then.startswith("/") and not then.startswith("//") and "\\" not in then and then.isprintable()
    return then if is_own and len(then) <= 2000 else "/"
