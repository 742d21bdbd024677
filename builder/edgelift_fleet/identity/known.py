"""Who holds a certificate and whose was taken back, at hand for every request; read again when somebody changed it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa

from edgelift_contract.errors import EdgeliftError, TransportError
from edgelift_fleet.db import Database
from edgelift_fleet.identity.issuing import Peer
from edgelift_fleet.tables import IdentityRow

log = logging.getLogger(__name__)

#: How often what another process changed is looked for, seconds: a certificate that was taken back ends within 5.
LOOK_S = 1.0


class KnownIdentities:
    """Identities at hand. A context: looked at again while the block runs. Safe to use from several threads."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = db, now
        self._revoked: set[str] = set()
        self._devices: set[str] = set()
        self._shown: set[str] = set()
        self._out: set[str] = set()
        self._number = 0
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[set[str]], None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="identities", daemon=True)

    def __enter__(self) -> KnownIdentities:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)

    def subscribe(self, on_revoked: Callable[[set[str]], None]) -> None:
        """Have `on_revoked` told of devices whose certificates were taken back; on any thread."""
        self._subscribers.append(on_revoked)

    def has(self, device: str) -> bool:
        """Has the device shown a certificate that holds, so that no shared token speaks for it any more?"""
        return device in self._devices

    def is_out(self, device: str) -> bool:
        """Was what the device had taken back, and nothing given since?"""
        return device in self._out

    def was_shown(self, peer: Peer) -> bool:
        """Has this certificate been shown before?"""
        return peer.serial in self._shown

    def judge(self, peer: Peer, *, renewing: bool) -> None:
        """Let a device in by its certificate.

        Args:
            peer: who shows it.
            renewing: it asks for a new one: for that it may have ended, as on a board that lay in a store-room.

        Raises:
            TransportError: `identity-revoked`, `identity-expired`.
        """
        if peer.serial in self._revoked:
            raise TransportError(
                "identity-revoked", f"The certificate of {peer.device} was taken back.",
                hint=f"To let it in again: edgelift device replace {peer.device}; then enrol it anew.",
            )  # fmt: skip
        if not renewing and self._now() >= peer.not_after:
            raise TransportError(
                "identity-expired",
                f"The certificate of {peer.device} has ended.",
                hint="Its agent renews it by itself.",
            )

    def refuse_shared(self, device: str) -> None:
        """The token that all share does not speak for who has a certificate. Raises TransportError `already-enrolled`."""
        if self.has(device):
            raise TransportError(
                "already-enrolled", f"{device} has a certificate: the token that all share speaks for it no more.",
                hint=f"A board that lost its key: edgelift device replace {device}, then enrol it anew.",
            )  # fmt: skip

    def look(self) -> None:
        """Read what changed. Raises EdgeliftError: the database's."""
        with self._lock, self._db.read() as session:
            query = sa.select(
                IdentityRow.device,
                IdentityRow.serial,
                IdentityRow.revoked_at,
                IdentityRow.shown_at,
                IdentityRow.number,
            )
            changed = session.execute(
                query.where(IdentityRow.number > self._number).order_by(IdentityRow.number)
            ).all()
            gone: set[str] = set()
            for device, serial, revoked_at, shown_at, number in changed:
                self._number = number
                if revoked_at:
                    self._revoked.add(serial)
                    self._devices.discard(device)
                    self._out.add(device)
                    gone.add(device)
                    continue
                gone.discard(device)
                self._out.discard(device)
                if shown_at:
                    self._devices.add(device)
                    self._shown.add(serial)
        if gone:
            for told in self._subscribers:
                told(gone)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                self.look()
            except EdgeliftError as error:
                log.warning("identities can't be read now: %s", error)
            except Exception:
                log.exception("a fault while reading identities")  # the next look may do
