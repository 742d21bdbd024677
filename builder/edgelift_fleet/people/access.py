"""Access tokens: by which a person who logged in, or a program, speaks to the API; known by a digest alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.messages.people import AccessView
from edgelift_fleet.people.roles import SITE_OWNER, Principal, lesser, rank
from edgelift_fleet.tables import AccessTokenRow, PersonRow

#: What one begins with; a device's enrolment token begins with something else.
ACCESS_MARK = "edgelift-access."
#: What a token may be made for at most.
MAX_DAYS = 3650.0
#: Tokens that are kept, and those of one person's logins.
MAX_ACCESS, MAX_LOGINS = 100_000, 100
#: One that holds no more is still listed for so long, seconds.
LISTED_S = 30 * 86400.0
#: How exactly it is kept when one was last used, seconds.
USED_EVERY_S = 3600.0

_FORM = re.compile(rf"{re.escape(ACCESS_MARK)}([0-9a-f]{{8}})\.([A-Za-z0-9_-]{{43}})\Z")


def create_access(
    session: Session, maker: Principal, *, person: str, role: str, days: float, note: str, login: bool, now: float
) -> tuple[AccessTokenRow, str]:
    """Make a token; inside a write transaction.

    Returns:
        Its row, and the secret, which is nowhere else from now on.

    Raises:
        ContractError: `role-too-low` for a role above its maker's, `too-large` where there are too many; `conflict` for a
            maker that is a person's token and was made by somebody else.
    """
    if (
        maker.maker and ":" not in maker.name
    ):  # what it made would have to end with two people, and is kept for one
        raise ContractError(
            "conflict", f"The token {maker.token} is {maker.name}'s and was made by {maker.maker}: it makes no others.",
            hint=f"Have {maker.name} log in (edgelift login), or ask by a token that stands for nobody.",
        )  # fmt: skip
    if rank(role) > rank(maker.role):
        raise ContractError(
            "role-too-low", f"{maker.name} is {maker.role}, and can make no token with the role {role}.",
            hint=f"Ask for {maker.role} or less.",
        )  # fmt: skip
    if not 0 < days <= MAX_DAYS:
        raise ContractError("too-large", f"A token holds for at most {MAX_DAYS:g} days.")
    _forget_old(session, person if login else "", now)
    if (session.scalar(sa.select(sa.func.count()).select_from(AccessTokenRow)) or 0) >= MAX_ACCESS:
        raise ContractError(
            "too-large", f"There are {MAX_ACCESS} tokens.", hint="Take some back: edgelift access revoke."
        )
    name, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    row = AccessTokenRow(
        id=name, digest=_digest(secret), person=person, role=role, note=note, login=login, made_at=now,
        made_by=maker.maker or maker.name, expires_at=now + days * 86400, used_at=0.0, revoked_at=0.0,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row, f"{ACCESS_MARK}{name}.{secret}"


def looks_like_access(secret: str) -> bool:
    """Is it a secret of the form that `create_access` gives?"""
    return _FORM.match(secret) is not None


def check_access(session: Session, secret: str, now: float) -> tuple[Principal, float]:
    """Whose token was shown, and when it was last used, as far as that is kept.

    Raises:
        TransportError: `not-authorised` for one that nobody made or that holds no more; the message says which.
    """
    found = _FORM.match(secret)
    row = session.get(AccessTokenRow, found[1]) if found else None
    if found is None or row is None or not hmac.compare_digest(row.digest, _digest(found[2])):
        raise TransportError("not-authorised", "The access token is not one of this site's.", hint=_LOGIN)
    gone = "it was taken back" if row.revoked_at else "it has expired" if now >= row.expires_at else ""
    role = row.role
    for name in [] if gone else _people_of(row):
        person = session.get(PersonRow, name)
        if person is None or person.disabled:
            gone = f"{name} is not let in any more" if name == row.person else f"{name}, who made it, is shut out"
        else:
            role = lesser(role, person.role)
    if gone:
        raise TransportError("not-authorised", f"The access token {row.id} holds no more: {gone}.", hint=_LOGIN)
    how = "login" if row.login else "access-token"
    # Who holds the site's own token owns the site: what a person makes by what they were given by it is theirs alone.
    maker = "" if row.person and row.made_by in (row.person, SITE_OWNER) else row.made_by
    return Principal(row.person or f"token:{row.id}", role, how, row.id, row.expires_at, maker), row.used_at


def _people_of(row: AccessTokenRow) -> list[str]:
    """With whom a token ends: whose it is, and who made it. The site's own token is no person, nor is another token."""
    return [one for one in (row.person, row.made_by) if one and one != SITE_OWNER and ":" not in one]


def list_access(session: Session, now: float) -> list[AccessView]:
    """Those that programs bear, the newest first; not those of people's logins."""
    query = sa.select(AccessTokenRow).where(AccessTokenRow.login.is_(False))
    let_in = set(session.scalars(sa.select(PersonRow.name).where(PersonRow.disabled.is_(False))))
    found = session.scalars(query.order_by(AccessTokenRow.made_at.desc()))
    return [view_of_access(row, now, out=not let_in.issuperset(_people_of(row))) for row in found]


def revoke_access(session: Session, name: str, now: float) -> AccessTokenRow:
    """Take one back. Raises ContractError `not-found`."""
    row = session.get(AccessTokenRow, name)
    if row is None:
        raise ContractError(
            "not-found", f"There is no access token {name[:16]!r}.", hint="See: edgelift access list."
        )
    row.revoked_at = row.revoked_at or now
    return row


def view_of_access(row: AccessTokenRow, now: float, *, out: bool = False) -> AccessView:
    """A token as operators see it. `out`: a person with whom it ends is shut out."""
    held = "shut-out" if out else "open"
    state = "revoked" if row.revoked_at else "expired" if now >= row.expires_at else held
    return AccessView(
        row.id, state, row.role, row.person, row.note, row.made_at, row.made_by, row.expires_at, row.used_at
    )


def _forget_old(session: Session, person: str, now: float) -> None:
    """Those that have held no more for long; and a person's oldest logins, where there are too many."""
    session.execute(sa.delete(AccessTokenRow).where(AccessTokenRow.expires_at < now - LISTED_S))
    if not person:
        return
    mine = (AccessTokenRow.person == person, AccessTokenRow.login.is_(True))
    session.execute(sa.delete(AccessTokenRow).where(*mine, AccessTokenRow.expires_at < now))
    query = sa.select(AccessTokenRow.id).where(*mine).order_by(AccessTokenRow.made_at.desc())
    old = session.scalars(query.offset(MAX_LOGINS - 1)).all()
    if old:
        session.execute(sa.delete(AccessTokenRow).where(AccessTokenRow.id.in_(old)))


def _digest(secret: str) -> str:
    # 256 random bits: nothing to guess, so nothing to stretch.
    return hashlib.sha256(secret.encode()).hexdigest()


_LOGIN = "Log in anew, or have a token made: edgelift access create."
