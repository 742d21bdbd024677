"""The authority's files in a site, and the server's own certificate, made anew before it ends.

secrets/authority-key      the newest authority's key (PEM), for the owner alone; while it is changed the old one's, too
secrets/authority          certificates (PEM) of all that are trusted, the newest first; what counts while it is changed
run/tls.pem                the server's certificate and key, made at each start
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Sequence

from edgelift_contract.errors import DeviceError
from edgelift_fleet.files import disk_errors, write_atomically
from edgelift_fleet.identity.authority import Authority
from edgelift_fleet.site import Site

KEY, CERTIFICATES = "authority-key", "authority"

_ONE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


def authorities_of(site: Site) -> list[Authority]:
    """The site's authorities whose keys are here, the newest first; one is made where there is none.

    Raises:
        DeviceError: `bad-config` when one can't be read, or the newest's key is another's; what the disk refuses.
    """
    if not (site.folder / "secrets" / CERTIFICATES).exists():
        made = Authority.make(site.config.name, time.time())
        keep_authorities(site, [made])
        return [made]
    certificates, keys = certificates_of(site), site.secret(KEY).encode()
    found = Authority.load_all(keys, certificates)
    if not found or found[0].certificate != certificates[0]:
        Authority.load(keys, certificates[0].encode())  # which says what is wrong
        raise DeviceError("bad-config", f"{site.folder / 'secrets' / KEY} holds another authority's key.")
    return found


def authority_of(site: Site) -> Authority:
    """The newest; raises as `authorities_of`."""
    return authorities_of(site)[0]


def keep_authorities(site: Site, found: Sequence[Authority]) -> None:
    """Write down that these are trusted, the newest first. Raises DeviceError: the disk's.

    The certificates say what counts. Keys come before they are needed and go after that: a power cut in between leaves
    one that is no use.
    """
    folder = site.folder / "secrets"
    keys = b"".join(one.key for one in found)
    with disk_errors("the site's authority"):
        kept = (folder / KEY).read_bytes() if has_authority(site) and (folder / KEY).exists() else b""
        write_atomically(folder / KEY, keys + kept, mode=0o600)
        write_atomically(folder / CERTIFICATES, "".join(one.certificate for one in found).encode(), mode=0o600)
        write_atomically(folder / KEY, keys, mode=0o600)


def stamp_of(site: Site) -> tuple[int, int] | None:
    """What changes when who is trusted does, and by its second part when that was, in ns; None where nobody is."""
    try:
        found = (site.folder / "secrets" / CERTIFICATES).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def has_authority(site: Site) -> bool:
    """Is there one?"""
    return (site.folder / "secrets" / CERTIFICATES).exists()


def certificates_of(site: Site) -> list[str]:
    """Certificates of the authorities that are trusted, the newest first. Raises DeviceError `bad-config`."""
    found = parted(site.secret(CERTIFICATES))
    if not found:
        raise DeviceError(
            "bad-config", f"{site.folder / 'secrets' / CERTIFICATES} holds no certificate.",
            hint="Take it from a backup of the site.",
        )  # fmt: skip
    return found


def parted(certificates: str) -> list[str]:
    """Certificates (PEM) that stand one after the other."""
    return [one.rstrip("\n") + "\n" for one in _ONE.findall(certificates)]


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
