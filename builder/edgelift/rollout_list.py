"""`edgelift rollout list`: the rollouts, how many of them are open first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.completion import names
from edgelift.list_command import Asking, lists, show
from edgelift.listing import ListView, Look, PageWish, Query, ask, counted, given, left_of
from edgelift.output import ago, shortened
from edgelift.rollout_progress import state_words

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage
    from edgelift_fleet.messages import RolloutSummary

_COLUMNS = ("rollout", "release", "to", "state", "wave", "committed", "failed", "offline", "started", "why")


@lists
def rollouts(
    state: Annotated[str, typer.Option("--state", help="In this state, as paused; open: not ended.")] = "",
    name: Annotated[str, typer.Option("--name", help="Of this name.")] = "",
    release: Annotated[
        str, typer.Option("--release", help="Of this release, as digits@2.", autocompletion=names("releases"))
    ] = "",
    *,
    asking: Asking,
) -> None:
    """List rollouts, newest first: how many there are, then how each stands."""
    query: Query = {"state": state, "name": name, "release": release}
    show(asking, _look(query, asking.wish), lambda client, most: _page(client, query, asking.wish, most).items)


def _page(client: Client, query: Query, wish: PageWish, most: int | None) -> ListPage[RolloutSummary]:
    from edgelift_fleet.messages import RolloutSummary

    return ask(client, "/v1/rollouts", query, RolloutSummary, wish, most)


def _look(query: Query, wish: PageWish) -> Look:
    def look(client: Client, most: int | None) -> ListView:
        page = _page(client, query, wish, most)
        filtered = bool(given(query))
        is_open = None if query["state"] else _page(client, {**query, "state": "open"}, PageWish(), 1).total
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
