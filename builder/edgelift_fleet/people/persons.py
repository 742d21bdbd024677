"""People as rows: made, listed, given another role or password, shut out and let in again."""

from __future__ import annotations

import re

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
    """Add a person; inside a write transaction.

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


def list_people(session: Session) -> list[PersonView]:
    """All, by name."""
    return [view_of_person(row) for row in session.scalars(sa.select(PersonRow).order_by(PersonRow.name))]


def view_of_person(row: PersonRow) -> PersonView:
    """A person as others see them: without what the password is known by."""
    return PersonView(row.name, row.role, row.made_at, row.disabled)


def end_tokens(session: Session, name: str, now: float, *, logins_only: bool = False) -> int:
    """Take a person's tokens back; returns how many held."""
    where = [AccessTokenRow.person == name, AccessTokenRow.revoked_at == 0.0, AccessTokenRow.expires_at > now]
    if logins_only:
        where.append(AccessTokenRow.login.is_(True))
    rows = session.scalars(sa.select(AccessTokenRow).where(*where)).all()
    for row in rows:
        row.revoked_at = now
    return len(rows)
