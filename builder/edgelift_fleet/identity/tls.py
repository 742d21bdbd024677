"""The server's side of TLS: its own certificate, kept fresh, and who may vouch for those that call."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.authority import SERVER_DAYS
from edgelift_fleet.identity.files import parted
from edgelift_fleet.identity.identities import Identities

log = logging.getLogger(__name__)

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for: whether a device's certificate has ended is judged
#: by the application, which lets it renew then (x509_vfy.h; measured with OpenSSL 3.0).
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
FILE = "tls.pem"


class ServerTls:
    """A context for servers that is always fit to be used.

    Attributes:
        context: of the server, for the next connection.
        file: the certificate and its key (PEM), as a broker reads it too.
    """

    def __init__(
        self, identities: Identities, folder: Path, names: Iterable[str], now: Callable[[], float] = time.time
    ) -> None:
        """Make a certificate.

        Args:
            identities: whose authority signs it.
            folder: for its file.
            names: by which the server is reached.
            now: the clock.

        Raises:
            DeviceError: `bad-config`, or what the disk refuses.
        """
        self._identities, self._names, self._now = identities, list(names), now
        self.file = folder / FILE
        self.context = _context()
        self._until, self._trusted = 0.0, ""
        self._subscribers: list[Callable[[], None]] = []
        self._dropping: list[Callable[[], None]] = []
        self._renewing = threading.RLock()
        self.renew()
        identities.on_changed = self.renew

    def subscribe(self, on_renewed: Callable[[], None]) -> None:
        """Have it told of a new certificate, or that others are trusted; on any thread."""
        self._subscribers.append(on_renewed)

    def watch(self, on_dropped: Callable[[], None]) -> None:
        """Have it told that an authority is trusted no more; on any thread."""
        self._dropping.append(on_dropped)

    def renew(self) -> bool:
        """Make another certificate when a third of this one's time is left, or who is trusted changed; was one made?

        Raises as the class.
        """
        with self._renewing:  # also of itself: who is trusted is read here, and who finds a change renews
            return self._renew()

    def _renew(self) -> bool:
        now, trusted = self._now(), self._identities.certificates()
        if self._until - now > SERVER_DAYS * 86400 / 3 and trusted == self._trusted:
            return False
        made, key = self._identities.shown.issue_own("edgelift", self._names, now)
        with disk_errors("the server's certificate"):
            write_atomically(self.file, made.pem.encode() + key, mode=0o600)
        context = _context()  # a new one: from one that is there nobody can be taken out
        context.load_cert_chain(self.file)
        context.load_verify_locations(cadata=trusted)
        if self._until:
            log.info("the server's certificate was renewed")
        before, self._trusted = self._trusted, trusted
        self.context, self._until = context, made.not_after
        dropped = set(parted(before)) - set(parted(trusted))
        for told in (*self._subscribers, *(self._dropping if dropped else ())):
            told()
        return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= NO_CHECK_TIME
    return context
