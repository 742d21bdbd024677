"""This device's identity, and by it the way to its control plane: HTTPS on which both sides show who they are.

A board's clock may stand in 1970, so that no certificate's time can be judged by it; what was signed for this device last
gives a time that it can't be earlier than (`floor`), and by that the control plane's certificate is judged. Its name isn't:
the site's authority vouches for nobody's server but the site's own, wherever that is called.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edgelift_agent.identity.kept import HostFile, IdentityFiles
from edgelift_agent.system.degraded import Degraded
from edgelift_contract.errors import DeviceError, TransportError
from edgelift_contract.identity import Certified

log = logging.getLogger(__name__)

PART = "certificate"
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for (x509_vfy.h).
_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


@dataclass(frozen=True)
class Way:
    """A way to the control plane.

    Attributes:
        url: where it is called.
        tls: by what; it shows this device's certificate where it has one.
        vet: looks at a connection that stands; raises `ssl.SSLError` for a certificate that had ended already.
        number: another for each way: connections of an older one are not used again.
        token: shown as bearer, by a device that has no certificate yet.
    """

    url: str
    tls: ssl.SSLContext
    vet: Callable[[Any], None]
    number: int
    token: str = ""


class DeviceIdentity:
    """Safe to use from several threads."""

    def __init__(
        self, kept: IdentityFiles, degraded: Degraded, device: str, configured: str, floor: Callable[[], float]
    ) -> None:
        """Bind; the files are read when they are needed, and again when they change.

        Args:
            kept: the files.
            degraded: told when they can't be read.
            device: this device's id.
            configured: URL of the control plane in the configuration; one of HTTPS counts more than what was kept.
            floor: a time that it can't be earlier than, seconds since 1970.
        """
        self._kept, self._degraded, self._device, self._configured, self._floor = (
            kept,
            degraded,
            device,
            configured,
            floor,
        )
        self._lock = threading.Lock()
        self._way: Way | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._number = 0
        self._wanted = False
        self._next: tuple[HostFile, bytes] | None = None  # and what to answer scrapers by

    @property
    def has_files(self) -> bool:
        """Has it been enrolled, whether or not what is kept of that can be read?"""
        return self._kept.stamp() is not None

    def way(self) -> Way | None:
        """The way to the control plane by this device's certificate; None while it has none.

        Raises:
            TransportError: it has one that can't be read now. There is no other way then: who goes back to plain HTTP and
                the old token for a damaged file would do so for whoever damages it.
        """
        with self._lock:
            stamp = self._kept.stamp()
            if stamp is not None and stamp == self._stamp and self._way is not None:
                return self._way
            if stamp is None and self._way is not None:
                return self._way  # the files were taken away: what is known counts on
            try:
                self._read(stamp)
            except DeviceError as error:
                self._degraded.begin(PART, error.code, str(error))
                if self._way is None:
                    raise TransportError(error.code, error.message, hint=error.hint) from error
            else:
                self._degraded.end(PART)
            return self._way

    def _read(self, stamp: tuple[int, int, int] | None) -> None:
        host = self._kept.host() if stamp is not None else None
        if host is None:
            return
        context = self.context(host.authorities)
        self._kept.load(context)
        self._number += 1
        url = self._configured if self._configured.startswith("https://") else host.url
        self._way, self._stamp = Way(url.rstrip("/"), context, self.vet, self._number), stamp

    @staticmethod
    def context(authorities: str) -> ssl.SSLContext:
        """TLS towards a control plane for which these vouch, and nobody else. Raises DeviceError `state-damaged`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: text that is not ASCII
            raise DeviceError(
                "state-damaged", f"Who may vouch for the control plane can't be read: {error}."
            ) from error
        return context

    def vet(self, sock: Any) -> None:
        """See `Way.vet`."""
        shown = sock.getpeercert() or {}
        until = shown.get("notAfter")
        if until is None or ssl.cert_time_to_seconds(until) < self._floor():
            raise ssl.SSLError(f"the control plane's certificate ended at {until}")

    def want(self) -> None:
        """A new certificate is wanted: the control plane offers one, or takes this one no more."""
        self._wanted = True

    def want_metrics(self) -> None:
        """A certificate to answer scrapers by is wanted. It comes with this device's own: that is asked for once more where
        a release asked for it that knew of no other.
        """
        try:
            host = self._kept.host()
        except DeviceError:
            return  # which is told where it is read for the link
        self._wanted = self._wanted or (host is not None and not host.metrics)

    def request(self) -> str:
        """A request for a certificate, where one is wanted; else empty.

        Raises:
            DeviceError: the disk's: a key that can't be kept is no use.
        """
        if not self._wanted:
            return ""
        from edgelift_agent.identity.keys import new_key, request_for  # late: some MB, and seldom needed

        key = self._kept.next_key()
        try:
            return request_for(self._device, key or b"")
        except (ValueError, TypeError):
            key = new_key()
            self._kept.keep_next_key(key)
            return request_for(self._device, key)

    def take(self, given: Certified, called: str) -> Way | None:
        """A certificate has come: how the control plane is called by it, which is to be tried before it counts.

        Args:
            given: its reply's part.
            called: URL at which it was called.

        Returns:
            None when it was not asked for.

        Raises:
            DeviceError: the disk's, `state-damaged` for a certificate that is none; what was kept before counts on.
        """
        from edgelift_agent.identity.keys import end_of  # late, as above

        key = self._kept.next_key()
        if key is None:
            return None
        try:
            until = end_of(given.certificate)
        except ValueError as error:
            raise DeviceError("state-damaged", f"The certificate that came is none: {error}.") from error
        file = self._kept.keep_next(key, given.certificate)
        context = self.context(given.authorities)
        self._kept.load(context, file)
        self._wanted = False
        host = HostFile(url=secured(called, given.port), authorities=given.authorities, until=until, metrics=True)
        self._next = host, (key + given.metrics.encode() if given.metrics else b"")
        return Way(host.url, context, self.vet, -1)

    def shown(self) -> dict[str, Any]:
        """What `edgelift-agent status` shows of it: the control plane's URL, until when its certificate holds (0: not
        known), and until when those do who may vouch for the control plane; empty without one.
        """
        way = self.way()
        try:
            host = self._kept.host() if way is not None else None
        except DeviceError:
            host = None
        if way is None:
            return {}
        ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in way.tls.get_ca_certs()]
        return {"url": way.url, "until": host.until if host is not None else 0.0, "authorities": sorted(ends)}

    @property
    def ends(self) -> float:
        """When this device's certificate ends, seconds since 1970; 0 where there is none, or it is not known."""
        try:
            host = self._kept.host() if self.way() is not None else None
        except DeviceError:
            return 0.0
        return host.until if host is not None else 0.0

    def settle(self) -> None:
        """The control plane was called by the new certificate: it counts from now on. Raises DeviceError: the disk's."""
        if self._next is not None:
            self._kept.settle(*self._next)
            self._next = None
            log.info("this device has a certificate of its own")


def secured(url: str, port: int) -> str:
    """The HTTPS URL of a control plane that was called at `url`; `port` 0 for the same."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"https://{host}:{port or parts.port or 443}"
