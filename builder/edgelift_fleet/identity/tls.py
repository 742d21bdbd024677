"""The server's side of TLS: its own certificate, kept fresh, and who may vouch for those that call."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.authority import SERVER_DAYS
from edgelift_fleet.identity.identities import Identities

log = logging.getLogger(__name__)

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for: whether a device's certificate has ended is judged
#: by the application, which lets it renew then (x509_vfy.h; measured with OpenSSL 3.0).
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
FILE = "tls.pem"


class ServerTls:
    """A context for servers that is always fit to be used.

    Attributes:
        context: of the server; new connections take what was renewed.
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
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.verify_flags |= NO_CHECK_TIME
        self._until = 0.0
        self._subscribers: list[Callable[[], None]] = []
        self.renew()

    def subscribe(self, on_renewed: Callable[[], None]) -> None:
        """Have it told of a new certificate; on any thread."""
        self._subscribers.append(on_renewed)

    def renew(self) -> bool:
        """Make another certificate when a third of this one's time is left; returns whether it did. Raises as the class."""
        now = self._now()
        if self._until - now > SERVER_DAYS * 86400 / 3:
            return False
        made, key = self._identities.authority.issue_own("edgelift", self._names, now)
        with disk_errors("the server's certificate"):
            write_atomically(self.file, made.pem.encode() + key, mode=0o600)
        self.context.load_cert_chain(self.file)
        self.context.load_verify_locations(cadata=self._identities.certificates())
        if self._until:
            log.info("the server's certificate was renewed")
        self._until = made.not_after
        for told in self._subscribers:
            told()
        return True
