"""Names that begin so: what a shell offers a person who types. Few, cheap to ask for, and nothing but names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from edgelift_fleet.tables import DeviceRow, ReleaseRow, RolloutRow, TagRow

#: What can be named.
Noun = Literal["devices", "releases", "models", "rollouts", "tags", "classes"]
#: More than a person reads.
MOST = 200
#: A tag's value is a board's own text, and a shell reads words: others than these are never offered to one.
SAFE = re.compile(r"[A-Za-z0-9._@:=+,/%-]*\Z")


def list_names(session: Session, noun: Noun, prefix: str) -> list[str]:
    """At most `MOST` names that begin with `prefix`: devices, classes, tags and models by name, releases and rollouts
    newest first.

    Tags are `key` and `key=value`. A name that a shell could take for more than a word is left out.
    """
    if not SAFE.match(prefix):
        return []
    found = dict.fromkeys(_QUERIES[noun](session, prefix))
    return [name for name in found if name.startswith(prefix) and SAFE.match(name)][:MOST]


def _begins(column: sa.ColumnElement[str] | InstrumentedAttribute[str], prefix: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(column, 1, len(prefix)) == prefix  # LIKE minds no case on SQLite


def _column(column: InstrumentedAttribute[str]) -> Callable[[Session, str], list[str]]:
    def ask(session: Session, prefix: str) -> list[str]:
        query = sa.select(column).where(_begins(column, prefix), column != "").distinct().order_by(column)
        return list(session.scalars(query.limit(MOST)))

    return ask


def _releases(session: Session, prefix: str) -> list[str]:
    name = ReleaseRow.model + "@" + ReleaseRow.version
    query = sa.select(name).where(_begins(name, prefix)).order_by(ReleaseRow.id.desc())
    return list(session.scalars(query.limit(MOST)))


def _rollouts(session: Session, prefix: str) -> list[str]:
    name = "r" + sa.cast(RolloutRow.number, sa.String)
    query = sa.select(name).where(_begins(name, prefix)).order_by(RolloutRow.number.desc())
    return list(session.scalars(query.limit(MOST)))


def _tags(session: Session, prefix: str) -> list[str]:
    pair = TagRow.key + "=" + TagRow.value
    query = sa.select(TagRow.key, TagRow.value).where(_begins(pair, prefix)).distinct().order_by(TagRow.key)
    found = [tuple(row) for row in session.execute(query.limit(4 * MOST))]
    keys = [] if "=" in prefix else [key for key, _ in found]
    return [*keys, *sorted(f"{key}={value}" for key, value in found if value)]


_QUERIES: dict[Noun, Callable[[Session, str], list[str]]] = {
    "devices": _column(DeviceRow.id),
    "classes": _column(DeviceRow.hardware_class),
    "models": _column(ReleaseRow.model),
    "releases": _releases,
    "rollouts": _rollouts,
    "tags": _tags,
}
