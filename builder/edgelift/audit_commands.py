"""The commands about what people did: `audit` lists it, `audit verify` holds it against itself and a head kept elsewhere."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from edgelift.common import JsonOption, SiteOption, open_registry, print_json, seconds
from edgelift.list_command import Asking, lists, show
from edgelift.listing import ListView, Look, PageWish, Query, ask, is_list, left_of
from edgelift.output import moment, say
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage
    from edgelift_fleet.messages import AuditEntry

_COLUMNS = ("entry", "when", "who", "from", "what", "about", "outcome", "why")


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(_audit)
    group.command("verify")(_verify)
    app.add_typer(group, name="audit")


@lists
def _audit(
    context: typer.Context,
    who: Annotated[str, typer.Option("--who", help="Only theirs: a name, token:ID, or site.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only of the last so long, as 2h or 7d.")] = "",
    *,
    asking: Asking,
) -> None:
    """List what people did, the newest first: who, when, from where, what, why, and what came of it."""
    if not is_list(context):
        return
    query: Query = {"who": who, "since": f"{time.time() - seconds(since):.3f}" if since else ""}
    opened = None if asking.watching else open_registry(asking.site)
    show(
        asking, _look(query, asking.wish), lambda client, most: _page(client, query, asking.wish, most).items,
        opened=opened,
    )  # fmt: skip


def _page(client: Client, query: Query, wish: PageWish, most: int | None) -> ListPage[AuditEntry]:
    from edgelift_fleet.messages import AuditEntry

    return ask(client, "/v1/audit", query, AuditEntry, wish, most)


def _look(query: Query, wish: PageWish) -> Look:
    def look(client: Client, most: int | None) -> ListView:
        # What was begun and has ended is one line: that of its end, on whichever page that is.
        page = _page(client, {**query, "joined": True}, wish, most)
        return ListView(
            noun="entries",
            head=f"{_many(page.total)}.",
            columns=_COLUMNS,
            rows=[_row(one) for one in page.items],
            items={str(one.number): one for one in page.items},
            counts={"total": page.total},
            left=left_of(page, wish),
            onward=f"the same with --after {page.items[-1].number}, or with --all" if page.items else "",
        )

    return look


def _many(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _row(one: AuditEntry) -> tuple[str, ...]:
    who = f"{one.who} ({one.role})" if one.who else "somebody unknown"
    return (
        str(one.number), moment(one.at), who, one.address, f"{one.operation} {one.method} {one.path}".strip(), one.about,
        one.outcome, one.why,
    )  # fmt: skip


def _verify(
    head: Annotated[
        str,
        typer.Option(
            "--head",
            metavar="DIGEST",
            show_default=False,
            help="A head that was kept elsewhere: it must be in the log.",
        ),
    ] = "",
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the audit log against itself: no entry was altered, taken out or put in. Prints its head: keep that elsewhere,
    and name it the next time, so that an end that was cut off is seen too.
    """
    from edgelift_fleet.messages import BEGINNING, Chain

    if head and not re.fullmatch(r"[0-9a-f]{64}", head):
        raise ContractError(
            "malformed", f"{head[:80]!r} is no head.", hint="Write its 64 digits, as this command prints them."
        )
    chain, met = Chain(), head in ("", BEGINNING)
    with open_registry(site) as client:
        for read in client.every("/v1/audit?sort=number&limit=1000", dict[str, object]):
            if (broken := chain.take(read)) is not None:
                raise ContractError(
                    "audit-broken", f"The audit log is not what was written: {broken.wrong}.",
                    hint=f"The {broken.number - 1} entries before it are whole. Hold it against a backup from before.",
                )  # fmt: skip
            met = met or chain.head == head
    if not met:
        raise ContractError(
            "audit-broken", f"The log's {chain.number} entries are whole, and the head {head[:12]}… is not among them.",
            hint="Its end was cut off, it was written anew, or the site was restored from an older backup.",
        )  # fmt: skip
    if as_json:
        print_json({"entries": chain.number, "head": chain.head})
    else:
        say(f"The audit log is whole: {_many(chain.number)}. Its head:", to_errors=True)
        say(chain.head)
