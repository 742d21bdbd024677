"""A control plane's authority, asked for where nobody is trusted yet: what comes counts by its digest alone."""

from __future__ import annotations

import hashlib
import re
import ssl
import warnings

import msgspec
import requests
import urllib3

from edgelift_contract.errors import TransportError
from edgelift_contract.identity import AUTHORITY, Authorities
from edgelift_contract.proxies import proxy_for
from edgelift_fleet.causes import cause_of

_ONE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
_MAX_BYTES = 64 * 1024


def offered_authorities(url: str, *, timeout_s: float = 20.0) -> dict[str, str]:
    """The authorities that whoever answers at `url` names: pin → certificate (PEM), the newest first.

    Nothing is shown to it, and nothing it says is to be believed before a pin was found right.

    Raises:
        TransportError: `unreachable`, or `server-error` for what is no such answer.
    """
    where = url.rstrip("/") + AUTHORITY
    try:
        with warnings.catch_warnings(), _session(url) as session:
            # That nobody vouches for who answers is the point of it.
            warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            answer = session.get(where, timeout=timeout_s, allow_redirects=False, stream=True, verify=False)
            body = answer.raw.read(_MAX_BYTES + 1, decode_content=False)
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise TransportError(
            "unreachable", f"The control plane at {url} cannot be reached: {cause_of(error)}."
        ) from error
    return read_authorities(body, url)


def read_authorities(body: bytes, url: str) -> dict[str, str]:
    """The authorities in an answer of `url`. Returns and raises as `offered_authorities`."""
    try:
        found = msgspec.json.decode(body, type=Authorities).certificates if len(body) <= _MAX_BYTES else ""
        pins = {_pin_of(one): one for one in _ONE.findall(found)}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pins = {}
    if not pins:
        raise TransportError("server-error", f"What answers at {url} is no control plane with certificates.")
    return pins


def pinned_authority(url: str, pin: str) -> str:
    """The certificate (PEM) of that digest.

    Raises:
        TransportError: `tls-failed` when the control plane has another; as `offered_authorities`.
    """
    found = offered_authorities(url).get(pin)
    if found is None:
        raise TransportError(
            "tls-failed", f"Who answers at {url} is not the site of that pin.",
            hint="Look at the address on the way, and at the pin.",
        )  # fmt: skip
    return found


def is_trusted_here(url: str, *, timeout_s: float = 20.0) -> bool:
    """Does this machine's own trust reach it, as behind a proxy with a public certificate?

    Raises:
        TransportError: `unreachable`.
    """
    try:
        with _session(url) as session:
            session.get(url.rstrip("/") + AUTHORITY, timeout=timeout_s, allow_redirects=False, stream=True)
    except requests.exceptions.SSLError:
        return False
    except (requests.exceptions.RequestException, OSError) as error:
        raise TransportError(
            "unreachable", f"The control plane at {url} cannot be reached: {cause_of(error)}."
        ) from error
    return True


def _session(url: str) -> requests.Session:
    """As `Client` calls: by the environment's proxy, and by no other word of the environment's."""
    made = requests.Session()
    made.trust_env = False
    if proxy := proxy_for(url):
        made.proxies = {"https": proxy}
    return made


def _pin_of(certificate: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
