"""`edgelift rollout list`: the rollouts, how many of them are open first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_client, print_json, seconds
from edgelift.completion import names
from edgelift.listing import (
    AfterOption,
    AllOption,
    EveryOption,
    LimitOption,
    ListView,
    Look,
    PageWish,
    Query,
    SortOption,
    WatchOption,
    ask,
    counted,
    left_of,
    show_list,
)
from edgelift.output import ago, shortened
from edgelift.rollout_progress import state_words
from edgelift.watching import WATCH_TIMEOUT_S, watch

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage
    from edgelift_fleet.messages import RolloutSummary

_COLUMNS = ("rollout", "release", "to", "state", "wave", "committed", "failed", "offline", "started", "why")


def rollouts(
    state: Annotated[str, typer.Option("--state", help="In this state, as paused; open: not ended.")] = "",
    name: Annotated[str, typer.Option("--name", help="Of this name.")] = "",
    release: Annotated[
        str, typer.Option("--release", help="Of this release, as digits@2.", autocompletion=names("releases"))
    ] = "",
    sort: SortOption = "",
    limit: LimitOption = None,
    after: AfterOption = "",
    whole: AllOption = False,
    watching: WatchOption = False,
    every: EveryOption = "2s",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rollouts, newest first: how many there are, then how each stands."""
    query: Query = [("state", state), ("name", name), ("release", release)]
    wish = PageWish(limit, after, whole, sort)
    most = wish.rows(as_json=as_json)
    look = _look(query, wish)
    if watching:
        watch(look, lambda: open_client(site, timeout_s=WATCH_TIMEOUT_S), most, seconds(every), as_json=as_json)
        return
    client = open_client(site)
    if as_json:
        print_json(_page(client, query, wish, most).items)
    else:
        show_list(look(client, most))


def _page(client: Client, query: Query, wish: PageWish, most: int | None) -> ListPage[RolloutSummary]:
    from edgelift_fleet.messages import RolloutSummary

    return ask(client, "/v1/rollouts", query, RolloutSummary, wish, most)


def _look(query: Query, wish: PageWish) -> Look:
    def look(client: Client, most: int | None) -> ListView:
        page = _page(client, query, wish, most)
        filtered = any(value for _, value in query)
        is_open = _page(client, [*query, ("state", "open")], PageWish(), 1).total if not query[0][1] else None
        return ListView(
            noun="rollouts",
            head=_head(page.total, is_open, filtered=filtered),
            columns=_COLUMNS,
            rows=[_row(one) for one in page.items],
            items={one.id: one for one in page.items},
            counts={"total": page.total, **({"open": is_open} if is_open is not None else {})},
            left=left_of(page, wish),
            onward=f"the same with --after {page.items[-1].id}, or with --all" if page.items else "",
            quiet=("now", "due_at"),
        )

    return look


def _head(total: int, is_open: int | None, *, filtered: bool) -> str:
    if not total:
        return "No rollout is as asked for." if filtered else "No rollout was started yet."
    of = " as asked for" if filtered else ""
    return f"{counted(total, 'rollouts')}{of}{f': {is_open:,} open' if is_open is not None else ''}."


def _row(one: RolloutSummary) -> tuple[str, ...]:
    return (
        f"{one.id} {shortened(one.name, 30)}" if one.name else one.id, one.release, shortened(one.selector),
        state_words(one), f"{one.wave}/{len(one.waves)}", f"{one.committed}/{one.cohort}", str(one.failed),
        str(one.offline), ago(one.created_at), one.reason,
    )  # fmt: skip
