"""What a page is, and what a form orders: said by each page for itself, so that the console knows none of them by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.datastructures import QueryParams

from edgelift_contract.errors import ContractError
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.people.roles import Principal


@dataclass(frozen=True)
class PageAsked:
    """What somebody asked a page for.

    Attributes:
        who: they are.
        query: of the address.
        named: what the path names, as `device`.
    """

    who: Principal
    query: QueryParams
    named: Mapping[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> bool | None:
        """A word of the query that is `true` or `false`; None for any other."""
        return {"true": True, "false": False}.get(self.query.get(name, ""))


@dataclass(frozen=True)
class ConsolePage:
    """A page: what it shows follows from one function, whose answer is also its JSON.

    Attributes:
        path: as `/devices/{device}`.
        template: file name; `_NAME` beside it is the part that is refreshed, and is all that the other includes.
        read: its data, a message; called on a thread. Raises what is to be told.
        nav: its entry in the navigation; empty for none.
        within: path of the page whose entry stands for it, where that lies not above it.
        least: role that may see it.
        lively: does this answer change by itself from second to second?
    """

    path: str
    template: str
    read: Callable[[Fleet, PageAsked], Any]
    nav: str = ""
    within: str = ""
    least: str = "viewer"
    lively: Callable[[Any], bool] = lambda _data: False

    @property
    def partial(self) -> str:
        """The template of the part that is refreshed."""
        return f"_{self.template}"


@dataclass(frozen=True)
class FormOrder:
    """An operation of the API that a form asks for, and the page that is shown once it is carried out.

    Attributes:
        method, path: of the operation.
        body: a message, or what JSON can say; None for none.
        then: a path of the console; `{id}` in it stands for the answer's field of that name.
        shows: the page is told what was answered, once, in place of a redirect: what is shown this once alone.
    """

    method: str
    path: str
    body: Any
    then: str
    shows: str = ""

    @property
    def asks_answer(self) -> bool:
        """Does the next page depend on what was answered?"""
        return "{" in self.then

    def leads_to(self, answer: Mapping[str, Any]) -> str:
        """The page that is shown next, with the answer's fields in their places. Raises KeyError for one that it lacks."""
        return re.sub(r"\{(\w+)\}", lambda found: quote(str(answer[found[1]]), safe=""), self.then)


@dataclass(frozen=True)
class Form:
    """What may be sent to a path: `order`, which is pure, says which operation of the API that is, or raises
    ContractError `malformed`.
    """

    path: str
    order: Callable[[Mapping[str, str], Mapping[str, str]], FormOrder]


def match(pattern: str, path: str) -> dict[str, str] | None:
    """What a path names where it fits a pattern; None where it doesn't."""
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    named = {}
    for want, got in zip(wanted, given, strict=True):
        if want.startswith("{"):
            if not got:
                return None
            named[want[1:-1]] = got
        elif want != got:
            return None
    return named


def number(fields: Mapping[str, str], name: str, default: float) -> float:
    """A number that somebody typed; `default` where they left it empty. Raises ContractError `malformed`."""
    text = fields.get(name, "").strip()
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ContractError("malformed", f"{text[:40]!r} is no number.", hint=f"It stands in the field {name!r}.")
    return found
