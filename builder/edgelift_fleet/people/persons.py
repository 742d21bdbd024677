"""People as rows: made, listed, given another role or password, shut out and let in again."""

from __future__ import annotations

import re
from collections import Counter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.messages.people import PersonView
from edgelift_fleet.people.roles import SITE_OWNER
from edgelift_fleet.tables import AccessTokenRow, PersonRow

#: Not `..`, which no URL can have as a segment: nobody could shut that person out.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
MAX_PEOPLE = 10_000


def check_name(name: str) -> str:
    """A name that a person may have. Raises ContractError `bad-id`."""
    if not _NAME.match(name) or name == SITE_OWNER:
        raise ContractError(
            "bad-id", f"{name[:64]!r} is no name of a person.",
            hint="Write 1 to 64 of a-z, 0-9, . _ and -, a letter or a digit first;"
            f" {SITE_OWNER!r} is who holds the site's own token.",
        )  # fmt: skip
    return name


def add_person(session: Session, name: str, role: str, digest: str, now: float) -> PersonRow:
    """Add a person; inside a write transaction. Tokens that hold and bear the name are of somebody who had it before, whom
    an older release removed without them: they are taken back.

    Raises:
        ContractError: `bad-id`, `conflict` for a name that is taken, `too-large` where there are too many.
    """
    check_name(name)
    if session.get(PersonRow, name) is not None:
        raise ContractError("conflict", f"There is a {name} already.", hint="See: edgelift user list.")
    if (session.scalar(sa.select(sa.func.count()).select_from(PersonRow)) or 0) >= MAX_PEOPLE:
        raise ContractError(
            "too-large", f"There are {MAX_PEOPLE} people.", hint="Remove some: edgelift user remove."
        )
    end_tokens(session, name, now)
    row = PersonRow(name=name, role=role, password=digest, made_at=now, disabled=False)
    session.add(row)
    session.flush()
    return row


def get_person(session: Session, name: str) -> PersonRow:
    """A person. Raises ContractError `not-found`."""
    row = session.get(PersonRow, name)
    if row is None:
        raise ContractError("not-found", f"Nobody is called {name[:64]!r}.", hint="See: edgelift user list.")
    return row


def list_people(session: Session, now: float) -> list[PersonView]:
    """All, by name."""
    found = _tokens(session, now)
    rows = session.scalars(sa.select(PersonRow).order_by(PersonRow.name))
    return [_view(row, found) for row in rows]


def view_of_person(session: Session, row: PersonRow, now: float) -> PersonView:
    """A person as others see them: without what the password is known by."""
    return _view(row, _tokens(session, now, row.name))


def _view(row: PersonRow, tokens: Counter[str]) -> PersonView:
    return PersonView(row.name, row.role, row.made_at, row.disabled, tokens[row.name])


def _tokens(session: Session, now: float, name: str = "") -> Counter[str]:
    """How many programs' tokens end with whom: those that are theirs, and those that they made."""
    whose, maker = AccessTokenRow.person, AccessTokenRow.made_by
    where = [AccessTokenRow.login.is_(False), *_open(now), *([_of(name)] if name else [])]
    found: Counter[str] = Counter()
    for person, made_by, count in session.execute(
        sa.select(whose, maker, sa.func.count()).where(*where).group_by(whose, maker)
    ):
        for one in {person, made_by}:
            found[one] += count
    return found


def _of(name: str) -> sa.ColumnElement[bool]:
    return sa.or_(AccessTokenRow.person == name, AccessTokenRow.made_by == name)


def _open(now: float) -> list[sa.ColumnElement[bool]]:
    return [AccessTokenRow.revoked_at == 0.0, AccessTokenRow.expires_at > now]


def end_tokens(session: Session, name: str, now: float) -> int:
    """Take back the tokens that are a person's, and those that they made; returns how many held."""
    return _end(session, [_of(name), *_open(now)], now)


def end_logins(session: Session, name: str, now: float, *, but: str = "") -> int:
    """End a person's logins but the one with the id `but`; returns how many held."""
    mine = [AccessTokenRow.person == name, AccessTokenRow.login.is_(True), AccessTokenRow.id != but]
    return _end(session, [*mine, *_open(now)], now)


def _end(session: Session, where: list[sa.ColumnElement[bool]], now: float) -> int:
    rows = session.scalars(sa.select(AccessTokenRow).where(*where)).all()
    for row in rows:
        row.revoked_at = now
    return len(rows)
