"""The authority's files in a site, and the server's own certificate, made anew before it ends.

secrets/authority-key      the newest authority's key (PEM), for the owner alone
secrets/authority          certificates (PEM) of all that are trusted, the newest first
run/tls.pem                the server's certificate and key, made at each start
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable

from edgelift_contract.errors import DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.site import Site

KEY, CERTIFICATES = "authority-key", "authority"

_ONE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def authority_of(site: Site) -> Authority:
    """The site's newest authority, made where there is none.

    Raises:
        DeviceError: `bad-config` when it can't be read, or what the disk refuses.
    """
    folder = site.folder / "secrets"
    if not (folder / CERTIFICATES).exists() and not (folder / KEY).exists():
        made = Authority.make(site.config.name, time.time())
        with disk_errors("the site's authority"):
            # The certificate last: a key alone is begun anew, and nobody has trusted it yet.
            write_atomically(folder / KEY, made.key, mode=0o600)
            write_atomically(folder / CERTIFICATES, made.certificate.encode(), mode=0o600)
        return made
    if not (folder / CERTIFICATES).exists():
        (folder / KEY).unlink()
        return authority_of(site)
    return Authority.load(site.secret(KEY).encode(), certificates_of(site)[0].encode())


def has_authority(site: Site) -> bool:
    """Is there one?"""
    return (site.folder / "secrets" / CERTIFICATES).exists()


def certificates_of(site: Site) -> list[str]:
    """Certificates of the authorities that are trusted, the newest first. Raises DeviceError `bad-config`."""
    found = _ONE.findall(site.secret(CERTIFICATES))
    if not found:
        raise DeviceError(
            "bad-config", f"{site.folder / 'secrets' / CERTIFICATES} holds no certificate.",
            hint="Take it from a backup of the site.",
        )  # fmt: skip
    return [one.rstrip("\n") + "\n" for one in found]


def own_names(host: str, more: Iterable[str]) -> list[str]:
    """Names by which this server may be reached: what it listens on, what it is called, and what the site adds."""
    found = [*more, "localhost", "127.0.0.1", "::1"]
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        found += [socket.gethostname(), socket.getfqdn(), *_addresses()]
    else:
        found.append(host)
    return [one for one in dict.fromkeys(found) if one]


def _addresses() -> list[str]:
    """This machine's addresses, but for those that hold on one link alone."""
    import psutil

    return [
        one.address
        for of_interface in psutil.net_if_addrs().values()
        for one in of_interface
        if one.family in (socket.AF_INET, socket.AF_INET6) and "%" not in one.address
    ]
