"""Pages of a list: so many after this one, in this order. Turned into SQL; knows no table.

A page begins after the row that the last one ended with (a keyset, not an offset): its cost does not grow with how far
one has paged, and rows that come or go meanwhile neither hide others nor show them twice. Where the order is not by the
id itself, what a row changes in that column while one pages may still do so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError

T = TypeVar("T")

#: Of a page, if nobody says how many, and at most.
LIMIT, MAX_LIMIT = 100, 1000
#: Of a list of which no page was asked for.
MAX_WHOLE = 10_000


@dataclass(frozen=True)
class Wish:
    """Which part of a list is asked for.

    Attributes:
        limit: at most so many; None: no page, the whole list up to `MAX_WHOLE`.
        after: only what comes after the one of this id; empty for the beginning.
        sort: a key of the list, with `-` before it for the other way round; empty for the list's own order.
    """

    limit: int | None = None
    after: str = ""
    sort: str = ""

    @property
    def most(self) -> int:
        """How many may come."""
        return MAX_WHOLE if self.limit is None else self.limit


#: The whole list.
WHOLE = Wish()


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list.

    Attributes:
        items: what was asked for.
        total: how many there are of what was asked for, on all pages together.
        next: the id after which the next page begins; empty when this is the last.
    """

    items: list[T]
    total: int
    next: str = ""


@dataclass(frozen=True)
class PageOrder:
    """An order of rows: by a column, and by the unique `key` among equals."""

    column: Any
    key: Any
    down: bool = False

    def clauses(self) -> list[sa.ColumnElement[Any]]:
        """For ORDER BY."""
        columns = [self.key] if self.column is self.key else [self.column, self.key]
        return [column.desc() for column in columns] if self.down else columns

    def after(self, session: Session, key: Any, what: str) -> sa.ColumnElement[bool]:
        """The rows that come after the one of this key.

        Raises:
            ContractError: `bad-id` when there is none and the order asks for its column.
        """
        if self.column is self.key:
            return bool_of(self.key < key if self.down else self.key > key)
        found = session.execute(sa.select(self.column).where(self.key == key)).first()
        if found is None:
            raise gone(what)
        here, there = sa.tuple_(self.column, self.key), sa.tuple_(found[0], key)
        return bool_of(here < there if self.down else here > there)


def gone(what: str) -> ContractError:
    """The refusal of a page after something that isn't there."""
    return ContractError(
        "bad-id",
        f"There is no {what} to go on after: it was removed, or never was.",
        hint="Begin again without `after`.",
    )


def bool_of(clause: Any) -> sa.ColumnElement[bool]:
    """The comparison, typed."""
    made: sa.ColumnElement[bool] = clause
    return made


def order_of(sort: str, columns: Mapping[str, Any], key: Any, default: str) -> PageOrder:
    """The order that `sort` names.

    Args:
        sort: a name in `columns`, perhaps after `-`; empty for `default`.
        columns: name → column.
        key: a unique column.
        default: as `sort`.

    Raises:
        ContractError: `malformed`, naming the keys that there are.
    """
    text = sort or default
    column = columns.get(text.removeprefix("-"))
    if column is None:
        keys = ", ".join(sorted(columns))
        raise ContractError(
            "malformed",
            f"The list can't be sorted by {text[:40]!r}.",
            hint=f"Sort by {keys}; with - for downwards.",
        )
    return PageOrder(column, key, text.startswith("-"))


def cut(wish: Wish, found: list[T]) -> tuple[list[T], bool]:
    """The page of what was read, one more than was asked for, and whether there is more."""
    return found[: wish.most], len(found) > wish.most
