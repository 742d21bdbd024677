"""The site's authority is changed for another, in two steps, so that no device is lost; or made anew after it was lost.

While it is changed both are trusted. The new one signs what devices get; the control plane goes on showing certificates
of the old one, which every device trusts. A device asks for a certificate of the new one when it next introduces itself,
at the latest a day later, and with it learns whom to trust from now on. When all have, the old one goes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.identity.files import authorities_of, certificates_of, has_authority, keep_authorities
from edgelift_fleet.identity.issuing import REPLACED, revoke
from edgelift_fleet.identity.metrics_authority import MetricsAuthority
from edgelift_fleet.people.audit import DONE, Deed, append, check_why
from edgelift_fleet.people.roles import OWNER
from edgelift_fleet.site import Site
from edgelift_fleet.tables import EnrolTokenRow, IdentityRow

_NAMED = 10


@dataclass(frozen=True)
class AuthorityState:
    """One of the site's authorities.

    Attributes:
        pin: SHA-256 of its certificate.
        not_after: until when it holds, seconds since 1970.
        signs: it makes the certificates of devices.
        shown: the control plane shows a certificate of it.
        devices: how many have a certificate of it; of the newest, that they have shown, so that they trust it.
    """

    pin: str
    not_after: float
    signs: bool
    shown: bool
    devices: int


@dataclass(frozen=True)
class AuthorityChange:
    """What a change came to: the devices that go without a certificate that counts, and tokens that hold no more."""

    pin: str
    left: list[str]
    tokens: int = 0


def states(site: Site, db: Database) -> tuple[list[AuthorityState], list[str]]:
    """All authorities, the newest first, and the devices that have shown no certificate of the newest yet.

    Raises:
        ContractError: `not-found` where there is none.
        DeviceError: `bad-config` when one can't be read.
    """
    found, changing = _known(site), len(certificates_of(site)) > 1
    with db.read() as session:
        everyone = _enrolled(session)
        left = everyone - _devices(session, found[0]) if changing else set()
    counts, last = (len(everyone) - len(left), len(left)), len(found) - 1
    made = [AuthorityState(one.pin, one.not_after, n == 0, n == last, counts[n]) for n, one in enumerate(found)]
    return made, sorted(left)


def metrics_authorities(site: Site) -> str:
    """Certificates (PEM) of those who vouch for devices towards scrapers, the newest first: one for each authority whose
    key is here, so that a scraper believes devices of either while the authority is changed. Raises as `states`.
    """
    return "".join(MetricsAuthority(one).certificate for one in _known(site))


def rotate(site: Site, db: Database, why: str) -> AuthorityChange:
    """Make another authority, trusted beside the one that is there; `why` is kept in the audit log, here and below.

    Raises:
        ContractError: `conflict` while another change is under way, `not-found` where there is none; `malformed` as
            `check_why`, here and below.
        DeviceError: `bad-config`, the disk's.
    """
    found = _known(site)
    if len(certificates_of(site)) > 1:
        raise ContractError(
            "conflict", "The authority is being changed already.", hint="Finish that: edgelift authority finish."
        )
    made = Authority.make(site.config.name, time.time())
    with db.write(SITE) as session:
        _log(session, "authority-rotate", made, why)
        keep_authorities(site, [made, *found])
    return AuthorityChange(made.pin, [])


def finish(site: Site, db: Database, why: str, *, force: bool) -> AuthorityChange:
    """Trust the newest alone from now on.

    Raises:
        ContractError: `conflict` when none is being changed, or, without `force`, when devices would be left behind.
        DeviceError: `bad-config`, the disk's.
    """
    found = _known(site)
    if len(certificates_of(site)) < 2:
        raise ContractError("conflict", "No change is under way.", hint="Begin one: edgelift authority rotate.")
    with db.write(SITE) as session:
        left = sorted(_enrolled(session) - _devices(session, found[0]))
        if left and not force:
            raise ContractError(
                "conflict", f"{len(left)} devices have shown no certificate of the new authority yet: {named(left)}.",
                hint="They ask for one once a day, when they are there. To leave them behind, each to be enrolled again:"
                " --force.",
            )  # fmt: skip
        tokens = _let_go(session, left)
        _log(session, "authority-finish", found[0], why)
        keep_authorities(site, found[:1])
    return AuthorityChange(found[0].pin, left, tokens)


def make_again(site: Site, db: Database, why: str) -> AuthorityChange:
    """Make another authority in the place of one that is lost: every device must be enrolled again.

    Raises:
        DeviceError: the disk's.
    """
    made = Authority.make(site.config.name, time.time())
    with db.write(SITE) as session:
        left = sorted(_enrolled(session))
        tokens = _let_go(session, left)
        _log(session, "authority-make", made, why)
        keep_authorities(site, [made])
    return AuthorityChange(made.pin, left, tokens)


def named(devices: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
    return ", ".join(devices[:_NAMED]) + more


def enrolled(db: Database) -> list[str]:
    """The devices that have a certificate."""
    with db.read() as session:
        return sorted(_enrolled(session))


def _log(session: Session, operation: str, authority: Authority, why: str) -> None:
    deed = Deed(OWNER, "", operation, "", "", f"the authority {authority.pin}", check_why(why))
    append(session, deed, DONE, time.time())


def _known(site: Site) -> list[Authority]:
    if not has_authority(site):
        raise ContractError(
            "not-found", "The site has no authority yet, or has lost it.",
            hint="edgelift serve makes the first; after a loss: edgelift authority make --again.",
        )  # fmt: skip
    return authorities_of(site)


def _enrolled(session: Session) -> set[str]:
    return set(session.scalars(sa.select(IdentityRow.device).filter_by(succeeded_by="", revoked_at=0.0)))


def _devices(session: Session, authority: Authority) -> set[str]:
    query = sa.select(IdentityRow.device).where(
        IdentityRow.shown_at > 0, IdentityRow.revoked_at == 0, IdentityRow.serial.startswith(authority.mark)
    )
    return set(session.scalars(query))


def _let_go(session: Session, devices: Sequence[str]) -> int:
    """Let these enrol again under their names; gives how many tokens pin whom nobody meets any more."""
    now = time.time()
    for device in devices:
        revoke(session, device, REPLACED, now)
    query = sa.select(EnrolTokenRow).where(EnrolTokenRow.revoked_at == 0, EnrolTokenRow.expires_at > now)
    rows = [one for one in session.scalars(query) if one.used < one.uses]
    for row in rows:
        row.revoked_at = now
    return len(rows)
