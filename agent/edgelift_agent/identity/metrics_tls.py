"""TLS by which this device answers who scrapes its metrics: by a certificate that the site gave it for that."""

from __future__ import annotations

import ssl
import threading

from edgelift_agent.config import ServeConfig, is_loopback
from edgelift_agent.identity.kept import IdentityFiles
from edgelift_contract.errors import DeviceError

#: What of the agent is degraded while metrics can't be answered so.
PART = "metrics"


def is_admin_tls(serve: ServeConfig) -> bool:
    """Are metrics answered by TLS?"""
    return serve.admin_tls == "device" or (serve.admin_tls == "auto" and not is_loopback(serve.admin_host))


class MetricsTls:
    """Safe to use from several threads."""

    def __init__(self, kept: IdentityFiles) -> None:
        self._kept, self._lock = kept, threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._fault: DeviceError | None = None

    def context(self) -> ssl.SSLContext | None:
        """For the next connection; None while there is no certificate. The file is looked at each time, so that a renewed
        one counts from then on, while connections that stand go on by theirs.
        """
        with self._lock:
            stamp = self._kept.stamp(self._kept.metrics)
            if stamp is None or stamp == self._stamp:
                return self._context  # taken away: what is known counts on
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                self._kept.load(made, self._kept.metrics)
            except DeviceError as error:
                self._fault = error
            else:
                self._context, self._stamp, self._fault = made, stamp, None
            return self._context

    def check(self) -> None:
        """Can scrapers be answered by what is there?

        Raises:
            DeviceError: `tls-failed` while there is no certificate; why it can't be read.
        """
        found = self.context()
        if self._fault is not None:
            raise self._fault
        if found is None:
            raise DeviceError(
                "tls-failed", "Nobody can scrape this device: it has no certificate to answer by.",
                hint="It comes with this device's own: enrol it at a site with TLS, of this release. To answer in the"
                ' clear: serve.admin_tls = "off".',
            )  # fmt: skip
