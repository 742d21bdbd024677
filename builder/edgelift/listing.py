"""What the lists share: counts first, then a page, how to go on, and all of it again and again with `--watch`.

`--json` answers the whole list unless a page is asked for, as a script wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlencode

import typer

from edgelift.output import say, show_table
from edgelift_contract.errors import ContractError

if TYPE_CHECKING:
    from edgelift_fleet.client import Client, ListPage

#: Rows of a page for a person.
ROWS = 50
#: Rows of a page when all are wanted: the most that the server gives at once.
_AT_ONCE = 1000
#: A server reads at most 32 KB of a request's first line and headers.
_MAX_QUERY = 28_000

LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, max=100_000, help=f"At most so many [default: {ROWS}; all with --json]."),
]
AfterOption = Annotated[str, typer.Option("--after", help="Only what comes after this one: the next page.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, however many.")]
SortOption = Annotated[
    str, typer.Option("--sort", metavar="KEY", help="Another order; with - before the key the other way round.")
]
WatchOption = Annotated[
    bool,
    typer.Option(
        "--watch", "-w",
        help="Again and again until Ctrl-C: a live table, or with --json a line of JSON for each change.",
    ),
]  # fmt: skip
EveryOption = Annotated[str, typer.Option("--every", help="How often with --watch, as 2s.")]

#: Options that a group hands on to its commands.
_WHERE = ("site", "server", "token_file")

T = TypeVar("T")
#: Filters of a list by their names in the API: a text, a list of texts, or a flag. What is empty or None was left open.
Query = Mapping[str, str | Sequence[str] | bool | None]


@dataclass(frozen=True)
class PageWish:
    """Which part of a list a person asked for.

    Attributes:
        limit: at most so many; None where that was left open.
        after: only what comes after this one.
        whole: all of them.
        sort: the order; empty for the list's own.
    """

    limit: int | None = None
    after: str = ""
    whole: bool = False
    sort: str = ""

    def rows(self, *, as_json: bool) -> int | None:
        """How many at most; None for all."""
        if self.whole and self.limit is not None:
            raise ContractError("malformed", "--all and --limit contradict each other.", hint="Name one of them.")
        if self.limit is not None:
            return self.limit
        return None if self.whole or (as_json and not self.after) else ROWS


@dataclass(frozen=True)
class ListView:
    """A list as it stands, for people and for programs.

    Attributes:
        noun: what it lists, as `devices`; of JSON too.
        head: the counts, in a sentence.
        columns: of the table.
        rows: of the table.
        items: id → message.
        counts: for JSON.
        left: how many more there are; -1 when nobody knows.
        onward: how to see them.
        notes: what must be said below.
        quiet: parts of a message whose change alone is none, as when a device was last heard.
    """

    noun: str
    head: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    items: Mapping[str, Any]
    counts: Any
    left: int = 0
    onward: str = ""
    notes: Sequence[str] = field(default=())
    quiet: Sequence[str] = field(default=())

    def foot(self) -> list[str]:
        """The lines below the table."""
        number = f"{self.left:,} " if self.left > 0 else ""
        more = [f"… and {number}more: {self.onward}."] if self.left else []
        return [*more, *self.notes]


#: Asks the server for a list, of so many rows at most (None: all).
Look = Callable[["Client", int | None], ListView]


def is_list(context: typer.Context) -> bool:
    """Is the list asked for, and none of its group's commands?

    Raises:
        ContractError: `malformed` for options of the list in front of such a command, where they would mean nothing.
    """
    if context.invoked_subcommand is None:
        return True
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        if source is not None and source.name == "COMMANDLINE" and param.name not in _WHERE:
            raise ContractError(
                "malformed", f"{param.opts[0]} stands before `{context.invoked_subcommand}` and is of the list.",
                hint="Put it behind.",
            )  # fmt: skip
    return False


def show_list(view: ListView) -> None:
    """The counts, the table if there is anything in it, and what is left."""
    say(view.head)
    if view.rows:
        show_table(view.columns, view.rows)
    for line in view.foot():
        say(line)


def ask(
    client: Client, path: str, query: Query, kind: type[T], wish: PageWish, most: int | None, *, search: str = ""
) -> ListPage[T]:
    """So many items of a list, in as many requests as that takes; what the answer's `next` says is of the last one.

    Args:
        client: to ask.
        path: of the list.
        query: its filters.
        kind: of its items.
        wish: which part of it.
        most: items at most; None for all.
        search: path that takes the filters as a body, where they are too long for an address.

    Raises:
        ContractError: `too-large` for a query that no server would read; what the server refuses with.
    """
    from edgelift_fleet.client import ListPage

    limit = min(most or _AT_ONCE, _AT_ONCE)
    page_wish = {"sort": wish.sort, "limit": str(limit), "after": wish.after}
    path, body = addressed(path, query, page_wish, search=search)
    items: list[T] = []
    total = 0
    while path:
        page = client.page(path, kind, body)
        items += page.items
        total, path = page.total, page.next
        if most is not None and len(items) >= most:
            break
    return ListPage(items if most is None else items[:most], total, path)


def left_of(page: ListPage[Any], wish: PageWish) -> int:
    """How many come after this page; -1 when that isn't known."""
    if not page.next:
        return 0
    return -1 if wish.after else page.total - len(page.items)


def given(query: Query) -> dict[str, str | Sequence[str] | bool]:
    """What of `query` was given."""
    return {name: value for name, value in query.items() if value is not None and value not in ("", [])}


def addressed(path: str, query: Query, more: Query | None = None, *, search: str = "") -> tuple[str, Any]:
    """Path and body by which a list is asked for: a query as long as an address may be, else a body where it takes one.

    Args:
        path: of the list.
        query: its filters.
        more: what stands in the address either way.
        search: path that takes the filters as a body; empty where there is none.

    Raises:
        ContractError: `too-large` for a query that is too long where there is none.
    """
    text = _encoded({**query, **(more or {})})
    if len(text) <= _MAX_QUERY:
        return (f"{path}?{text}" if text else path), None
    if not search:
        raise ContractError(
            "too-large", f"The filters are {len(text):,} characters long; at most {_MAX_QUERY:,} fit into an address.",
            hint="Ask for less at once.",
        )  # fmt: skip
    text = _encoded(more or {})
    return (f"{search}?{text}" if text else search), given(query)


def _encoded(query: Query) -> str:
    parts = given(query).items()
    words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in parts}
    return urlencode(words, doseq=True)


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`, `5,000 devices`."""
    return f"{number:,} {noun.removesuffix('s') if number == 1 else noun}"
