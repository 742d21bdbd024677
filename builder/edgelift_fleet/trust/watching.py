"""While a server runs: what the control plane signs is renewed in time, and what people must renew is told in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping

from securesystemslib.signer import CryptoSigner

from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.signed import DIRECTOR, IMAGE
from edgelift_fleet.db import Database
from edgelift_fleet.trust.expiring import expiring
from edgelift_fleet.trust.online import online_ids, renew
from edgelift_fleet.trust.store import Stored, newest

log = logging.getLogger(__name__)

_LOOK_S = 3600.0
_TELL_S = 86400.0


class Watching:
    """Looks once an hour. Call `look` from one thread.

    Attributes:
        warnings: what ends soon, and what to do, as it was found last.
    """

    def __init__(self, db: Database, find: Callable[[Collection[str]], CryptoSigner]) -> None:
        self._db, self._find = db, find
        self.warnings: list[str] = []
        self._looked_at = self._told_at = float("-inf")

    def look(self, now: float) -> None:
        """Renew and warn, where it is time to; `now` in seconds since 1970. What fails is logged, and tried again."""
        if abs(now - self._looked_at) < _LOOK_S:
            return
        self._looked_at = now
        try:
            renew(self._db, self._find, now)
        except EdgeliftError as error:
            log.warning("the control plane's signature was not renewed code=%s %s", error.code, error)
        try:
            with self._db.read() as session:
                image = newest(session, IMAGE)
                self.warnings = [*self._lacking(image), *expiring(image, newest(session, DIRECTOR), now)]
        except EdgeliftError as error:
            log.warning("what is signed was not looked at code=%s %s", error.code, error)
        if self.warnings and abs(now - self._told_at) >= _TELL_S:
            self._told_at = now
            for one in self.warnings:
                log.warning("%s", one)

    def _lacking(self, image: Mapping[str, Stored]) -> Iterator[str]:
        """Without its own key the control plane tells devices nothing new; looked at again soon, for it may be put back."""
        try:
            if "root" in image:
                self._find(online_ids(image["root"].body))
        except DeviceError as error:
            self.look_again()
            yield f"Devices are told nothing new: {error.message} {error.hint}".rstrip()

    def look_again(self) -> None:
        """Something was signed: look the next time in any case."""
        self._looked_at = float("-inf")
