"""A command that lists: the options by which every list is asked for, and how what comes is shown."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelift.common import JsonOption, SiteOption, open_client, print_json, seconds
from edgelift.listing import (
    AfterOption,
    AllOption,
    EveryOption,
    LimitOption,
    Look,
    PageWish,
    SortOption,
    WatchOption,
    show_list,
)
from edgelift.watching import WATCH_TIMEOUT_S, watch

if TYPE_CHECKING:
    from edgelift_fleet.client import Client


@dataclass(frozen=True)
class Asking:
    """How a person asks for a list.

    Attributes:
        wish: which part of it.
        watching: again and again.
        every: how often, as it was written.
        site: of which site.
        as_json: for a program.
    """

    wish: PageWish
    watching: bool
    every: str
    site: Path | None
    as_json: bool


def _options(
    sort: SortOption = "",
    limit: LimitOption = None,
    after: AfterOption = "",
    whole: AllOption = False,
    watching: WatchOption = False,
    every: EveryOption = "2s",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> Asking:
    return Asking(PageWish(limit, after, whole, sort), watching, every, site, as_json)


def lists(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of every list; it is called with them as its `asking`."""
    mine = inspect.signature(command, eval_str=True)
    shared = inspect.signature(_options, eval_str=True).parameters

    @functools.wraps(command)
    def listing(**given: Any) -> None:
        asked = {name: given.pop(name) for name in shared}
        command(**given, asking=_options(**asked))

    own = [parameter for name, parameter in mine.parameters.items() if name != "asking"]
    taken = [*own, *shared.values()]
    listing.__signature__ = mine.replace(parameters=taken)  # type: ignore[attr-defined]  # read by inspect.signature
    listing.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return listing


def show(
    asking: Asking,
    look: Look,
    read: Callable[[Client, int | None], Any],
    opened: AbstractContextManager[Client] | None = None,
) -> None:
    """Show a list as it was asked for.

    Args:
        asking: how.
        look: asks the server for all that a person sees.
        read: asks for what a program gets; both for so many rows at most (None: all).
        opened: where from, unless it is watched; the running server when left out.

    Raises:
        ContractError: `malformed` for options that contradict each other; what the server refuses with.
    """
    most = asking.wish.rows(as_json=asking.as_json)
    if asking.watching:
        watch(look, lambda: _connect(asking), most, seconds(asking.every), as_json=asking.as_json)
        return
    with opened or nullcontext(open_client(asking.site)) as client:
        if asking.as_json:
            print_json(read(client, most))
        else:
            show_list(look(client, most))


def _connect(asking: Asking) -> Client:
    return open_client(asking.site, timeout_s=WATCH_TIMEOUT_S)
