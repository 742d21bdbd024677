"""Whose token it is, at hand for every request; asked anew after a moment, so that one that was taken back ends."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import sqlalchemy as sa

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.people.access import USED_EVERY_S, check_access
from edgelift_fleet.people.roles import Principal
from edgelift_fleet.tables import AccessTokenRow

log = logging.getLogger(__name__)

#: For how long what was read is believed, seconds: a token that another server took back ends within 5.
BELIEVED_S = 2.0
#: Tokens that are at hand.
MAX_AT_HAND = 4096


class KnownTokens:
    """Tokens at hand. Safe to use from several threads."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time) -> None:
        self._db, self._now = db, now
        self._at_hand: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._generation = 0
        self._lock = threading.Lock()

    def at_hand(self, secret: str) -> Principal | None:
        """Whose it is, if that was read a moment ago; None asks for `look_up`."""
        with self._lock:
            found = self._at_hand.get(_key(secret))
        now = self._now()
        if found is None or not 0 <= now - found[1] < BELIEVED_S or now >= found[0].expires_at:
            return None
        return found[0]

    def look_up(self, secret: str) -> Principal:
        """Read whose it is; on a thread. Raises TransportError `not-authorised`; the database's."""
        now, generation = self._now(), self._generation
        with self._db.read() as session:
            principal, used_at = check_access(session, secret, now)
        with self._lock:
            if generation == self._generation:  # else something changed while it was read
                self._at_hand[_key(secret)] = (principal, now)
                while len(self._at_hand) > MAX_AT_HAND:
                    self._at_hand.popitem(last=False)
        if now - used_at > USED_EVERY_S:
            self._note_used(principal.token, now)
        return principal

    def forget(self) -> None:
        """People or tokens were changed here: everything is read anew."""
        with self._lock:
            self._generation += 1
            self._at_hand.clear()

    def _note_used(self, token: str, now: float) -> None:
        try:
            with self._db.write(ROWS) as session:
                session.execute(sa.update(AccessTokenRow).where(AccessTokenRow.id == token).values(used_at=now))
        except EdgeliftError as error:  # who may come in does so all the same
            log.warning("when a token was used was not kept code=%s %s", error.code, error.message)


def _key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
