"""What a receiver said to a message, and how an HTTP one is asked: bounded, without redirects, over verified TLS."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import requests

from edgelift_contract import __version__
from edgelift_contract.proxies import proxy_for
from edgelift_contract.text import clean
from edgelift_fleet.causes import cause_of

#: Of an answer so many bytes are read, for people.
_MAX_ANSWER = 2048
_MAX_SAID = 300
#: Longest that a receiver may ask to be left alone, seconds.
MAX_RETRY_AFTER_S = 3600.0


@dataclass(frozen=True)
class Receipt:
    """What came of a try.

    Attributes:
        taken: the receiver has it.
        said: what it said, or why it could not be asked; for people.
        retry_after_s: how long it asks to be left alone; 0 where it didn't.
        gone: it wants nothing more of this: try no more.
    """

    taken: bool
    said: str
    retry_after_s: float = 0.0
    gone: bool = False


def check_url(text: str) -> SplitResult:
    """A receiver's address. Raises ValueError, as a part of a sentence, for what is none."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is no address")
    try:
        url = urlsplit(text)
        port_is_one = url.port is None or url.port > 0
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_one:
        raise ValueError(f"{text!r} is no address that begins with https:// or http://")
    if url.username or url.password or url.fragment:
        raise ValueError("its url holds a name, a password or a #: a secret goes into secret_file")
    return url


def is_loopback(host: str) -> bool:
    """Does nobody hear what is said to this host but this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, ca_file: Path | None) -> Receipt:
    """POST `body` once.

    Args:
        url: as `check_url` took it.
        body: JSON.
        headers: beside those that every request has.
        timeout_s: for a connection, and between two pieces of an answer; the whole body has as long again.
        ca_file: who may vouch for the receiver; the system's without one.
    """
    mine = {"Content-Type": "application/json", "User-Agent": f"edgelift/{__version__}", **headers}
    try:
        with requests.Session() as session:
            session.trust_env = False
            if proxy := proxy_for(url):
                session.proxies = {"https": proxy}
            with session.post(
                url, data=body, headers=mine, timeout=timeout_s, verify=str(ca_file) if ca_file else True,
                allow_redirects=False, stream=True,
            ) as response:  # fmt: skip
                return _judge(response, _said(response, timeout_s))
    except (requests.RequestException, OSError, ValueError) as error:
        return Receipt(False, clean(f"{type(error).__name__}: {cause_of(error)}")[:_MAX_SAID])


def _judge(response: requests.Response, said: str) -> Receipt:
    status = response.status_code
    words = f"HTTP {status}{': ' if said else ''}{said}"[:_MAX_SAID]
    if 300 <= status < 400:
        words = f"HTTP {status}: it points elsewhere, and redirects are not followed: write its own address"
    again_s = _retry_after(response.headers.get("Retry-After", ""), time.time())
    return Receipt(200 <= status < 300, words, again_s, gone=status == 410)


def _said(response: requests.Response, timeout_s: float) -> str:
    """The beginning of an answer's body. What comes after it, or too slowly, is not read."""
    taken, deadline = b"", time.monotonic() + timeout_s
    try:
        for piece in response.iter_content(512):
            taken += piece
            if len(taken) >= _MAX_ANSWER or time.monotonic() > deadline:
                break
    except (requests.RequestException, OSError):
        pass  # its status said all that counts
    return clean(taken[:_MAX_ANSWER].decode("utf-8", "replace")).strip()[:_MAX_SAID]


def _retry_after(text: str, now: float) -> float:
    """Seconds that a `Retry-After` asks for, a number or a date; within bounds, 0 for what is none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - now), MAX_RETRY_AFTER_S)
    except (ValueError, TypeError, OverflowError):
        return 0.0
