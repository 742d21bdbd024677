"""What a site does about who its devices are: takes them in, renews, replaces, removes them; and lists its tokens."""

from __future__ import annotations

import logging
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.identity import Certified, EnrolToken, dump_token
from edgelift_fleet.conditions import Conditions, version_of_device
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import add_tags, get_device
from edgelift_fleet.files import disk_errors
from edgelift_fleet.identity.authority import DEVICE_DAYS, Authority
from edgelift_fleet.identity.files import (
    CERTIFICATES,
    KEY,
    authorities_of,
    certificates_of,
    has_authority,
    stamp_of,
)
from edgelift_fleet.identity.issuing import (
    REPLACED,
    Applicant,
    Peer,
    contest,
    issue,
    newest_of,
    next_number,
    note_shown,
    revoke,
    revoked_serials,
)
from edgelift_fleet.identity.known import KnownIdentities
from edgelift_fleet.identity.metrics_authority import MetricsAuthority
from edgelift_fleet.identity.tokens import Shown, check_token, create_token, view_of
from edgelift_fleet.messages.identity import IdentityEnded, IdentityView, TokenMade, TokenRequest, TokenView
from edgelift_fleet.site import Site
from edgelift_fleet.tables import EnrolTokenRow, IdentityRow

log = logging.getLogger(__name__)

REMOVED = "removed"


class Identities:
    """The identities of one site.

    Attributes:
        known: at hand, for every request.
        port: where HTTPS is answered beside plain HTTP; 0 where there is no plain HTTP.
        on_changed: called when others are trusted than before, ahead of any certificate by them.
    """

    def __init__(self, site: Site, db: Database, now: Callable[[], float] = time.time) -> None:
        self._site, self._db, self._now = site, db, now
        self._authorities: list[Authority] = []
        self._stamp: tuple[int, int] | None = None
        self._reading = threading.Lock()
        self.known = KnownIdentities(db, now)
        self.port = 0
        self.on_changed: Callable[[], object] = lambda: None

    @property
    def authority(self) -> Authority:
        """The newest; made for a site that never had one. Raises DeviceError: `bad-config`, the disk's."""
        return self._all()[0]

    @property
    def shown(self) -> Authority:
        """Whose certificates the control plane shows: the oldest, which every device trusts. Raises as `authority`."""
        return self._all()[-1]

    def _all(self) -> list[Authority]:
        """Those whose keys are here, as the files say now."""
        with self._reading:
            stamp = stamp_of(self._site)
            if not self._authorities or stamp not in (None, self._stamp):
                self._refuse_lost()
                self._authorities = authorities_of(self._site)
                changed, self._stamp = self._stamp is not None, stamp or stamp_of(self._site)
            else:
                changed = False
            found = self._authorities
        if changed:
            self.on_changed()
        return found

    def _refuse_lost(self) -> None:
        """Devices that trust one authority must not be met by another, as after a restore without the site's secrets."""
        if has_authority(self._site):
            return
        with self._db.read() as session:
            devices = session.scalar(sa.select(sa.func.count(sa.distinct(IdentityRow.device)))) or 0
        if devices:
            raise DeviceError(
                "bad-config", f"The site's authority is missing, and {devices} devices have certificates of it.",
                hint=f"Put {KEY} and {CERTIFICATES} back into {self._site.folder / 'secrets'}. If they are gone for good:"
                " edgelift authority make --again.",
            )  # fmt: skip

    def certificates(self) -> str:
        """Of all authorities that are trusted, PEM, the newest first. Raises as `authority`."""
        assert self.authority
        return "".join(certificates_of(self._site))

    def revocations(self, more: Collection[str] = ()) -> bytes:
        """A list (PEM) of certificates that hold no more, with all of the devices `more`. Raises EdgeliftError."""
        now = self._now()
        with self._db.read() as session:
            serials = revoked_serials(session, more, now)
        return b"".join(one.revocations(serials, now) for one in self._all())

    def client(self, name: str, folder: Path) -> ssl.SSLContext:
        """TLS by which the control plane calls a broker as `name`, which only a certificate of its authority can name.

        Args:
            name: a device's, or its own.
            folder: where its certificate lies for a moment: Python's `ssl` reads it from a file alone.
        """
        context = ssl.create_default_context(cadata=self.certificates())
        context.check_hostname = False  # a broker of ours, on this machine
        self.certify(context, name, folder)
        return context

    def certify(self, context: ssl.SSLContext, name: str, folder: Path) -> None:
        """Have a context of `client`'s show a new certificate from its next connection on; raises as `authority`."""
        made, key = self.shown.issue_own(name, (), self._now(), client=True)
        context.load_verify_locations(cadata=self.certificates())
        with disk_errors("a certificate of the server's own"), tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(made.pem.encode() + key)
            file.flush()
            context.load_cert_chain(file.name)

    def show(self, secret: str) -> Shown:
        """A token that was shown; raises as `check_token`."""
        with self._db.read() as session:
            return check_token(session, secret, self._now())

    def offers(self, peer: Peer | None, *, plain: bool) -> bool:
        """Should a device ask for a certificate: it has none and may have one, a third of its own one's time is left, or
        who is trusted has changed?
        """
        if peer is None:
            return bool(self.port) if plain else True
        return peer.not_after - self._now() < DEVICE_DAYS * 86400 / 3 or self._is_old(peer)

    def _is_old(self, peer: Peer) -> bool:
        """Was its certificate made by another authority than the newest, or before who is trusted changed last?"""
        if not peer.serial.startswith(self.authority.mark):
            return True
        changed_at = self._stamp[1] / 1e9 if self._stamp is not None else 0.0
        # A second is what the end of a certificate is cut by; a change in the future is a clock's fault.
        return peer.not_after - DEVICE_DAYS * 86400 + 1.0 < changed_at <= self._now()

    def give(
        self, device: str, csr: str, by: Shown | Peer | None, address: str, *, plain: bool
    ) -> Certified | None:
        """A certificate for a device that asks for one; None where it has had too many of late, and its own counts on.

        Args:
            device: its id.
            csr: its request, PEM.
            by: what it showed; None for the token that all share.
            address: whence.
            plain: it came over plain HTTP.

        Raises:
            TransportError, ContractError: as `issue`. DeviceError: as `authority`.
        """
        authority, asking, now = self.authority, Applicant(device, csr, by, address), self._now()
        try:
            with self._db.write(SITE) as session:
                made = issue(session, authority, asking, now, is_due=lambda it: self.offers(it, plain=False))
        except TransportError as error:
            if error.code in ("already-enrolled", "identity-revoked"):
                with self._db.write(SITE) as session:
                    contest(session, device, address, now)
            raise
        if not made:
            log.info("asks for certificates too often device=%s address=%s", device, address)
            return None
        log.info("certified device=%s address=%s by=%s", device, address, _said(by))
        self.known.look()
        return Certified(
            certificate=made, authorities=self.certificates(), port=self.port if plain else 0,
            metrics=MetricsAuthority(authority).issue(made),
        )  # fmt: skip

    def note(self, peer: Peer) -> None:
        """A device introduces itself by its certificate. Raises EdgeliftError: the database's."""
        if self.known.was_shown(peer):
            return
        with self._db.write(SITE) as session:
            note_shown(session, peer, self._now())
        self.known.look()

    def view(self, session: Session, device: str) -> IdentityView | None:
        """What a device is known by; None for one that never had a certificate."""
        row = newest_of(session, device)
        if row is None:
            return None
        state = "expired" if self._now() >= row.not_after else "valid"
        if row.revoked_at:
            state = REPLACED if row.why == REPLACED else REMOVED
        return IdentityView(
            state, row.serial, row.issued_at, row.not_after, row.shown_at, row.address, row.token,
            row.contested_by, row.contested_at,
        )  # fmt: skip

    def came_by(self, session: Session, device: str) -> TokenView | None:
        """The token by which a device came last; None for one that came by the site's own, or whose token is forgotten."""
        query = sa.select(IdentityRow.token).filter(IdentityRow.device == device, IdentityRow.token != "")
        token = session.scalars(query.order_by(IdentityRow.number.desc()).limit(1)).first()
        row = session.get(EnrolTokenRow, token) if token else None
        return view_of(row, self._now()) if row is not None else None

    def tag(self, device: str, shown: Shown) -> None:
        """Give a device the tags of the token that it came by. Raises as `add_tags`."""
        if shown.tags:
            with self._db.write(SITE) as session:
                add_tags(session, device, shown.tags)

    def make_token(self, wanted: TokenRequest, url: str) -> TokenMade:
        """A token for devices that are to call `url`. Raises ContractError as `create_token`; as `authority`."""
        pin = self.shown.pin  # whom a device meets when it comes
        with self._db.write(SITE) as session:
            row, secret = create_token(
                session, uses=wanted.uses, days=wanted.days, tags=wanted.tags, note=wanted.note, now=self._now()
            )
        token = EnrolToken(schema=EnrolToken.SCHEMA, url=url, pin=pin, secret=secret)
        return TokenMade(row.id, dump_token(token), row.expires_at)

    def tokens(self) -> list[TokenView]:
        """All, the newest first."""
        now = self._now()
        with self._db.read() as session:
            rows = session.scalars(sa.select(EnrolTokenRow).order_by(EnrolTokenRow.made_at.desc()))
            return [view_of(row, now) for row in rows]

    def revoke_token(self, token: str) -> TokenView:
        """Take one back. Raises ContractError `not-found`."""
        now = self._now()
        with self._db.write(SITE) as session:
            row = session.get(EnrolTokenRow, token)
            if row is None:
                raise ContractError("not-found", f"There is no token {token!r}.", hint="See: edgelift token list.")
            row.revoked_at = row.revoked_at or now
            return view_of(row, now)

    def replace(self, device: str, on: Conditions) -> IdentityEnded:
        """Let another board enrol in this one's place.

        Raises:
            ContractError: `not-found`, `bad-id`, and what `on` refuses.
        """
        return self._end(device, REPLACED, on)

    def remove(self, device: str, on: Conditions) -> IdentityEnded:
        """Take a device out: its certificates hold no more, and it gets no other. Raises as `replace`."""
        return self._end(device, REMOVED, on)

    def _end(self, device: str, why: str, on: Conditions) -> IdentityEnded:
        with self._db.write(SITE) as session:
            on.begin(session)
            get_device(session, device)
            on.match(version_of_device(session, device))
            made = IdentityEnded(device, len(_end(session, device, why, self._now())))
            on.end(session, made)
        self.known.look()
        return made


def _end(session: Session, device: str, why: str, now: float) -> list[str]:
    gone = revoke(session, device, why, now)
    newest = newest_of(session, device)
    if not gone and newest is not None:  # it was taken back before, for another reason
        newest.why, newest.number = why, next_number(session)
    return gone


def _said(by: Shown | Peer | None) -> str:
    return f"token {by.token}" if isinstance(by, Shown) else "certificate" if by is not None else "shared token"
