"""Who gets a certificate: the rules by which a device is taken for the one that it says it is. Inside a transaction.

A device comes first with a token, and from then on with the certificate that it got; each new one is for a new key. So a
card that was cloned shows itself: of two boards with one key, only the first to renew gets on, and the other asks with a
certificate that has a successor. A reply that was lost is no clone: the device asks again for the same key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError, TransportError
from edgelift_fleet.identity.authority import Authority, key_digest, key_of
from edgelift_fleet.identity.tokens import Shown, spend_token
from edgelift_fleet.tables import IdentityRow

log = logging.getLogger(__name__)

#: Certificates that one device gets within so long, seconds, by its certificate so far. It asks for one in two months, and
#: at once when who is trusted changes; what asks more often would fill the table.
MOST_OF_LATE, LATE_S = 16, 7 * 86400.0
#: Why an identity ended so that another may begin: somebody said so.
REPLACED = "replaced"


@dataclass(frozen=True)
class Peer:
    """Who is at the other end of a connection, by the certificate that it showed and holds the key of.

    Attributes:
        device: whom it names.
        serial: in hexadecimal.
        not_after: until when it holds, seconds since 1970.
        public_key: SHA-256 of its key.
    """

    device: str
    serial: str
    not_after: float
    public_key: str


def refuse_other(peer: Peer, device: str) -> None:
    """A certificate speaks for its own device alone. Raises ContractError `wrong-device`."""
    if peer.device != device:
        raise ContractError("wrong-device", f"The certificate of {peer.device} does not speak for {device}.")


@dataclass(frozen=True)
class Applicant:
    """Who asks for a certificate.

    Attributes:
        device: for which id.
        csr: its request, PEM.
        by: what it showed: a token, or its certificate so far; None for the token that all of an older site share.
        address: whence.
    """

    device: str
    csr: str
    by: Shown | Peer | None
    address: str


def issue(
    session: Session, authority: Authority, asking: Applicant, now: float, *, is_due: Callable[[Peer], bool]
) -> str:
    """Make a certificate for whoever may have one; the newest once more, for who asks for its key before it `is_due`.

    Returns:
        It, as PEM; empty for a device that has renewed its own too often of late: that one counts on.

    Raises:
        TransportError: `already-enrolled`, `identity-revoked`, `token-spent`.
        ContractError: as `key_of`.
    """
    key = key_digest(key_of(asking.csr, asking.device))
    newest = newest_of(session, asking.device)
    if newest is not None:
        _judge(newest, asking, key)
    new = newest is None or bool(newest.revoked_at)
    if newest is not None and not new:
        has = Peer(newest.device, newest.serial, newest.not_after, newest.public_key)
        if has.public_key == key and not is_due(has):
            again = has.serial, has.not_after
            return authority.issue_device(asking.device, asking.csr, now, again=again).pem
        if has.public_key != key and _of_late(session, asking.device, now) >= MOST_OF_LATE:
            return ""
        forget_ended(session, newest, now)
    if new and isinstance(asking.by, Shown):
        spend_token(session, asking.by, now)
    made = authority.issue_device(asking.device, asking.csr, now)
    number = next_number(session)
    if newest is not None:
        newest.succeeded_by, newest.number = made.serial, number
    session.add(
        IdentityRow(
            serial=made.serial, device=asking.device, public_key=made.public_key, issued_at=now,
            not_after=made.not_after, address=asking.address[:64],
            token=asking.by.token if isinstance(asking.by, Shown) else "", number=number + 1,
        )
    )  # fmt: skip
    return made.pem


def _of_late(session: Session, device: str, now: float) -> int:
    """How many certificates were made for a device, and not taken back, within `LATE_S`."""
    query = sa.select(sa.func.count()).select_from(IdentityRow).filter_by(device=device, revoked_at=0.0)
    return session.scalar(query.where(IdentityRow.issued_at > now - LATE_S, IdentityRow.issued_at <= now)) or 0


def forget_ended(session: Session, newest: IdentityRow, now: float) -> None:
    """Forget a device's certificates that have ended, and that it can't come back with: it showed a later one, for another
    key. One that was taken back stays on record for good: by a clock that is ahead others end before their time, too, and
    `note_shown` tells what they were by those that are left.
    """
    rows = list(session.scalars(sa.select(IdentityRow).filter_by(device=newest.device)))
    unshown = {row.serial for row in rows if not row.shown_at}
    for row in rows:
        is_spent = bool(row.succeeded_by) and row.succeeded_by not in unshown and row.not_after <= now
        if (
            is_spent
            and not row.revoked_at
            and newest.serial not in (row.serial, row.succeeded_by)
            and row.public_key != newest.public_key
        ):
            session.delete(row)


def _judge(newest: IdentityRow, asking: Applicant, key: str) -> None:
    """Somebody asks to be a device that has, or had, a certificate: the device itself, or not?"""
    if newest.revoked_at:
        if newest.why == REPLACED and not isinstance(asking.by, Peer) and newest.public_key != key:
            return  # a new board in an old one's place
        raise TransportError(
            "identity-revoked", f"{asking.device} was taken out of this site.",
            hint=f"To let it in again: edgelift device replace {asking.device}.",
        )  # fmt: skip
    # By the key as well, not by the serial alone: of two certificates for one key, as an answer that was lost or a request
    # that somebody sent again leaves behind, a device may hold the one before the newest.
    renews = isinstance(asking.by, Peer) and (
        asking.by.serial == newest.serial or asking.by.public_key == newest.public_key
    )
    if newest.public_key != key and not renews:
        raise TransportError(
            "already-enrolled",
            f"{asking.device} has a certificate already, for another key, given to"
            f" {newest.address or 'an unknown address'}.",
            hint=f"A new board, or one that lost its key: edgelift device replace {asking.device}. A cloned card: give"
            " it an id of its own.",
        )


def contest(session: Session, device: str, address: str, now: float) -> None:
    """Note that somebody else wanted to be this device; it is shown beside it."""
    newest = newest_of(session, device)
    if newest is not None:
        newest.contested_by, newest.contested_at, newest.number = address[:64], now, next_number(session)


def newest_of(session: Session, device: str) -> IdentityRow | None:
    """The device's newest certificate; None when it never had one."""
    query = sa.select(IdentityRow).filter_by(device=device, succeeded_by="").order_by(IdentityRow.number.desc())
    return session.scalars(query).first()


def note_shown(session: Session, peer: Peer, now: float) -> None:
    """A certificate was shown; one that is not known here, as on a site that was restored, is from now on.

    Raises:
        TransportError: `identity-expired` for one that is not known and has ended: nobody here can tell whether it was
            taken back. `identity-revoked` for one that is not known and belongs to what was taken back.
    """
    row = session.get(IdentityRow, peer.serial)
    if row is None and now >= peer.not_after:
        raise TransportError(
            "identity-expired", f"The certificate of {peer.device} has ended, and is not on record here: it isn't renewed.",
            hint="Enrol it anew: edgelift token create, then edgelift-agent enroll --again.",
        )  # fmt: skip
    if row is None:
        log.warning("a certificate that is not on record device=%s serial=%s", peer.device, peer.serial)
        row = _row_of(session, peer, now)
        session.add(row)
    row.shown_at, row.number = row.shown_at or now, next_number(session)


def _row_of(session: Session, peer: Peer, now: float) -> IdentityRow:
    """A row for a certificate that is not on record. It is the device's newest only if none that is on record was made
    later: it may have been forgotten as ended, by a clock that was ahead. All hold equally long, so the end tells the order.
    """
    newest = newest_of(session, peer.device)
    query = sa.select(IdentityRow).filter_by(device=peer.device)
    later = list(session.scalars(query.where(IdentityRow.not_after > peer.not_after)))
    # What is taken back is all that a device has: with a later one this one was, too.
    if any(one.revoked_at for one in [*later, newest] if one is not None):
        raise TransportError(
            "identity-revoked", f"The certificate of {peer.device} is not on record here, and what it had was taken back.",
            hint=f"To let it in again: edgelift device replace {peer.device}; then enrol it anew.",
        )  # fmt: skip
    return IdentityRow(
        serial=peer.serial, device=peer.device, public_key=peer.public_key, issued_at=now, not_after=peer.not_after,
        succeeded_by=newest.serial if newest is not None and later else "", number=0,
    )  # fmt: skip


def revoke(session: Session, device: str, why: str, now: float) -> list[str]:
    """Take back all that a device has; gives the serials."""
    rows = list(session.scalars(sa.select(IdentityRow).filter_by(device=device, revoked_at=0.0)))
    number = next_number(session) if rows else 0
    for row in rows:
        row.revoked_at, row.why, row.number = now, why, number
    return [row.serial for row in rows]


def revoked_serials(session: Session, more: Collection[str], now: float) -> list[str]:
    """Serials that hold no more and have not ended by themselves; with all of the devices `more`."""
    rows = sa.select(IdentityRow.serial).where(IdentityRow.not_after > now)
    gone = set(session.scalars(rows.where(IdentityRow.revoked_at > 0)))
    if more:
        gone |= set(session.scalars(rows.where(IdentityRow.device.in_(more))))
    return sorted(gone)


def next_number(session: Session) -> int:
    """Above every number in the table."""
    return (session.scalar(sa.select(sa.func.max(IdentityRow.number))) or 0) + 1
