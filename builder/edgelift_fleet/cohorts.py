"""Which devices a selector means now: read in sets, by a fixed number of statements whatever the fleet.

What the database can judge is one WHERE; what it can't in the same words everywhere (facts, which are JSON, and
patterns of texts that mind upper and lower case) is judged here, over the devices that the rest leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.devices import LastSeen, is_online
from edgelift_fleet.selector import And, Not, Or, Tree, parse_selector
from edgelift_fleet.selector_terms import All, Class, Fact, IdPattern, Ids, Runs, Tag, matches
from edgelift_fleet.tables import DeviceRow, SlotStateRow, TagRow

#: Longer lists of ids are compared here: databases bound the parameters of a statement.
_SQL_IDS = 500
_COLUMNS = (
    DeviceRow.id, DeviceRow.hardware_class, DeviceRow.timezone, DeviceRow.last_seen, DeviceRow.transport,
    DeviceRow.presence_online, DeviceRow.gone_at,
)  # fmt: skip

Where = sa.ColumnElement[bool]


@dataclass(frozen=True)
class Member:
    """A device that is selected: its id, hardware class and time zone as it says, and whether it is there now."""

    device: str
    hardware_class: str = ""
    timezone: str = ""
    online: bool = True


def select_ids(session: Session, selector: str | Tree) -> list[str]:
    """The ids of the devices that a selector means, sorted.

    Raises:
        ContractError: `bad-id`.
    """
    where, rest = split(_read(selector))
    if rest is not None:
        return sorted(among(session, rest, where))
    return list(session.scalars(sa.select(DeviceRow.id).where(where).order_by(DeviceRow.id)))


def select_members(session: Session, selector: str | Tree, seen: LastSeen, now: float) -> list[Member]:
    """The devices that a selector means, by id, with what a draw needs to know.

    Args:
        session: to read by.
        selector: see `selector`; as text, or read already.
        seen: when devices were last heard of.
        now: seconds since 1970.

    Raises:
        ContractError: `bad-id`.
    """
    where, rest = split(_read(selector))
    rows = session.execute(sa.select(*_COLUMNS).where(where).order_by(DeviceRow.id)).all()
    if rest is not None:
        kept = among(session, rest, where)
        rows = [row for row in rows if row.id in kept]
    return [Member(row.id, row.hardware_class, row.timezone, is_online(row, seen.of(row)[0], now)) for row in rows]


def unknown_ids(session: Session, selector: str) -> list[str]:
    """Ids that a selector names and that no device has, sorted.

    Raises:
        ContractError: `bad-id`.
    """
    named = {device for term in _terms(parse_selector(selector)) if isinstance(term, Ids) for device in term.ids}
    return sorted(named - set(session.scalars(sa.select(DeviceRow.id)))) if named else []


def _read(selector: str | Tree) -> Tree:
    return parse_selector(selector) if isinstance(selector, str) else selector


def _terms(tree: Tree) -> list[Tree]:
    if isinstance(tree, Not):
        return _terms(tree.of)
    if isinstance(tree, (And, Or)):
        return [term for part in tree.parts for term in _terms(part)]
    return [tree]


def split(tree: Tree) -> tuple[Where, Tree | None]:
    """What the database can judge of `tree`, and the rest of it, which must hold as well: `among` judges that."""
    parts = tree.parts if isinstance(tree, And) else (tree,)
    judged = [_where(part) for part in parts if _in_sql(part)]
    rest = tuple(part for part in parts if not _in_sql(part))
    return sa.and_(sa.true(), *judged), And(rest) if rest else None


def _in_sql(tree: Tree) -> bool:
    return all(
        not isinstance(term, Fact)
        and not (isinstance(term, Tag) and term.glob)
        and not (isinstance(term, Ids) and len(term.ids) > _SQL_IDS)
        for term in _terms(tree)
    )


def _where(tree: Tree) -> Where:
    match tree:
        case All():
            return sa.true()
        case Not(of):
            return sa.not_(_where(of))
        case And(parts):
            return sa.and_(*(_where(part) for part in parts))
        case Or(parts):
            return sa.or_(*(_where(part) for part in parts))
        case Tag(key, value, _):
            tagged = sa.select(TagRow.device).where(TagRow.key == key)
            return DeviceRow.id.in_(tagged if value is None else tagged.where(TagRow.value == value))
        case Class(pattern):
            return _like(DeviceRow.hardware_class, pattern)
        case Ids(ids):
            return DeviceRow.id.in_(sorted(ids))
        case IdPattern(pattern):
            return _like(DeviceRow.id, pattern)
        case Runs(model, version):
            runs = sa.select(SlotStateRow.device).where(SlotStateRow.model == model, SlotStateRow.artifact != "")
            return DeviceRow.id.in_(runs.where(SlotStateRow.version == version) if version else runs)
        case Fact():
            raise AssertionError("facts are judged here, not by the database")


def _like(column: sa.orm.InstrumentedAttribute[str], pattern: str) -> Where:
    """Ids and classes are lower case: SQLite's LIKE, which doesn't mind case, means the same by them."""
    if not set(pattern) & set("*?"):
        return column == pattern
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(escaped.replace("*", "%").replace("?", "_"), escape="\\")


def among(session: Session, tree: Tree, where: Where) -> Set[str]:
    """Of the devices that `where` means, those that `tree` means, by a fixed number of statements."""
    compared = {term for term in _terms(tree) if isinstance(term, Fact)}
    if compared:
        rows = session.execute(sa.select(DeviceRow.id, DeviceRow.facts).where(where))
        told = {row[0]: row[1] for row in rows}
        universe, held = frozenset(told), _held(compared, told)
    else:
        universe, held = frozenset(session.scalars(sa.select(DeviceRow.id).where(where))), {}

    def of_term(term: Tree) -> Set[str]:
        match term:
            case Fact():
                return held[term]
            case Tag(key, str(value), True):
                rows = session.execute(sa.select(TagRow.device, TagRow.value).where(TagRow.key == key))
                return {device for device, text in rows if matches(value, text)}
            case Ids(ids) if len(ids) > _SQL_IDS:
                return ids
        return frozenset(session.scalars(sa.select(DeviceRow.id).where(_where(term))))

    return _combine(tree, universe, of_term)


def _held(terms: Set[Fact], facts: Mapping[str, str]) -> dict[Fact, Set[str]]:
    """Term → the devices of which it holds. Of each body only the facts that are compared are read, and what many boards
    have alike is compared once; who can't be read tells nothing.
    """
    told = _decoder(tuple(sorted({term.name for term in terms})))
    held: dict[Fact, set[str]] = {term: set() for term in terms}
    known: dict[tuple[Fact, Any], bool] = {}
    for device, text in facts.items():
        try:
            found = told.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        for term, mine in held.items():
            value = getattr(found, term.name)
            key = (term, value) if isinstance(value, (str, int, float)) else None
            holds = known.get(key) if key is not None else None
            if holds is None:
                holds = term.holds({term.name: value})
                if key is not None:
                    known[key] = holds
            if holds:
                mine.add(device)
    return dict(held)


@lru_cache(maxsize=32)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    kind = msgspec.defstruct("Told", [(name, Any, None) for name in names])
    return msgspec.json.Decoder(kind)


def _combine(tree: Tree, universe: frozenset[str], of_term: Callable[[Tree], Set[str]]) -> Set[str]:
    match tree:
        case Not(of):
            return universe - _combine(of, universe, of_term)
        case And(parts):
            return universe.intersection(*(_combine(part, universe, of_term) for part in parts))
        case Or(parts):
            return universe.intersection(frozenset().union(*(_combine(part, universe, of_term) for part in parts)))
    return universe & of_term(tree)
