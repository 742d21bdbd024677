"""Enrolment tokens: made for so many devices and so long, known by a digest alone, spent one device at a time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.devices import check_tags
from edgelift_fleet.messages.identity import TokenView
from edgelift_fleet.tables import EnrolTokenRow

#: What a token may be made for at most.
MAX_USES, MAX_DAYS = 1_000_000, 3650.0
#: Tokens that are kept; who makes one for every board makes some thousands.
MAX_TOKENS = 100_000


@dataclass(frozen=True)
class Shown:
    """A token that was shown and holds: its row's id, and the tags that it gives."""

    token: str
    tags: dict[str, str]


def create_token(
    session: Session, *, uses: int, days: float, tags: dict[str, str], note: str, now: float
) -> tuple[EnrolTokenRow, str]:
    """Make a token; inside a write transaction.

    Returns:
        Its row, and the secret, which is nowhere else from now on.

    Raises:
        ContractError: `too-large` when there are too many, or for what no token may be made for; `bad-id` for a tag.
    """
    check_tags(tags)
    if not 1 <= uses <= MAX_USES or not 0 < days <= MAX_DAYS:
        raise ContractError("too-large", f"A token is for 1 to {MAX_USES} devices and at most {MAX_DAYS:g} days.")
    count = session.scalar(sa.select(sa.func.count()).select_from(EnrolTokenRow)) or 0
    if count >= MAX_TOKENS:
        raise ContractError("too-large", f"There are {count} tokens.", hint="Remove some: edgelift token revoke.")
    name, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    row = EnrolTokenRow(
        id=name, digest=_digest(secret), made_at=now, expires_at=now + days * 86400, uses=uses,
        tags=codec.canonical_json(tags).decode(), note=note,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row, f"{name}.{secret}"


def looks_like_token(secret: str) -> bool:
    """Is it a secret of the form that `create_token` gives?"""
    name, dot, rest = secret.partition(".")
    return bool(dot) and len(name) == 8 and len(rest) == 43


def check_token(session: Session, secret: str, now: float) -> Shown:
    """Judge what was shown; nothing is counted yet.

    Raises:
        TransportError: `not-authorised` for one that nobody made, `token-spent` for one that holds no more.
    """
    name, _, rest = secret.partition(".")
    row = session.get(EnrolTokenRow, name)
    if row is None or not hmac.compare_digest(row.digest, _digest(rest)):
        raise TransportError("not-authorised", "The enrolment token is not one of this site's.")
    _refuse_gone(row, now)
    return Shown(name, msgspec.json.decode(row.tags, type=dict[str, str]))


def spend_token(session: Session, shown: Shown, now: float) -> None:
    """One more device came by it; inside a write transaction, which the database lets nobody else share.

    Raises:
        TransportError: `token-spent` when as many have come as may, or it was taken back since it was shown.
    """
    row = session.get(EnrolTokenRow, shown.token, with_for_update=True)
    if row is not None:
        _refuse_gone(row, now)
    if row is None or row.used >= row.uses:
        raise TransportError(
            "token-spent", f"The enrolment token {shown.token} was used as often as it may be.", hint=_HINT
        )
    row.used += 1


def _refuse_gone(row: EnrolTokenRow, now: float) -> None:
    gone = "it was taken back" if row.revoked_at else "it has expired" if now >= row.expires_at else ""
    if gone:
        raise TransportError("token-spent", f"The enrolment token {row.id} holds no more: {gone}.", hint=_HINT)


def view_of(row: EnrolTokenRow, now: float) -> TokenView:
    """A token as operators see it."""
    state = "open"
    if row.revoked_at:
        state = "revoked"
    elif now >= row.expires_at:
        state = "expired"
    elif row.used >= row.uses:
        state = "spent"
    tags = msgspec.json.decode(row.tags, type=dict[str, str])
    return TokenView(row.id, state, row.uses, row.used, row.made_at, row.expires_at, tags, row.note)


def _digest(secret: str) -> str:
    # 256 random bits: nothing to guess, so nothing to stretch.
    return hashlib.sha256(secret.encode()).hexdigest()


_HINT = "Make another: edgelift token create."
