"""A thread's connections to hosts, by urllib3: over HTTPS also by the environment's proxy, and each request under a watch.

Redirects are never followed, nothing is tried twice, no cookie is kept, and of the environment only the proxy counts.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from socket import socket
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from edgelift_agent.link.bounded import Watch
from edgelift_contract.proxies import proxy_for

#: What a request may raise: urllib3's own kinds, and what it lets through.
FAULTS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
#: Answers that may come before the one, each of them an announcement.
MAX_INTERIM = 32

_LINE_BYTES = 65536
#: Content codings would break ranges and digests; nothing here is long enough to need them.
_ALWAYS = {"Accept-Encoding": "identity"}


class _Final(http.client.HTTPResponse):
    """An answer without those that may come before it, as 103 Early Hints: Python passes over 100 alone (RFC 9110, 15.2)."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed has no private names
            if not 101 < status < 200:
                break
            while self.fp.readline(_LINE_BYTES) not in (b"\r\n", b"\n", b""):
                pass
        return version, status, reason


class HttpSession:
    """Connections that are kept for the next request; for one thread. A context: they are closed at its end."""

    def __init__(
        self, watch: Watch, tls: ssl.SSLContext | None = None, vet: Callable[[Any], None] = lambda _: None
    ) -> None:
        """Nothing is connected yet.

        Args:
            watch: every request is under it.
            tls: what HTTPS is spoken by, and nothing else vouches for anybody; None for the world's authorities.
            vet: looks at each TLS connection that stands; raises `ssl.SSLError` for one that is not to be used.
        """
        self._pools = _pools(watch, vet)
        # Which name it is called by says nothing where it has an authority of its own: see `identity`.
        self._by_tls: dict[str, Any] = (
            {"cert_reqs": "CERT_REQUIRED", "ca_certs": certifi.where()}
            if tls is None
            else {"ssl_context": tls, "assert_hostname": False}
        )
        self._managers: dict[tuple[str, bool], urllib3.PoolManager] = {}

    @contextmanager
    def ask(
        self, method: str, url: str, *, timeout: urllib3.Timeout, headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:  # fmt: skip
        """An answer whose body is still to be read; its connection is kept once that was read to its end.

        Raises:
            one of FAULTS.
        """
        response = self._manager(proxy_for(url), secure=url[:6].lower() == "https:").request(
            method, url, body=body, headers={**_ALWAYS, **(headers or {})}, timeout=timeout, retries=False,
            redirect=False, preload_content=False, decode_content=False,
        )  # fmt: skip
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    def close(self) -> None:
        """Close what is kept."""
        for manager in self._managers.values():
            manager.clear()

    def __enter__(self) -> HttpSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _manager(self, proxy: str, *, secure: bool) -> urllib3.PoolManager:
        found = self._managers.get((proxy, secure))
        if found is None:
            by_tls = self._by_tls if secure else {}  # older ones of urllib3 hand that on to plain connections
            found = self._managers[proxy, secure] = (
                urllib3.ProxyManager(proxy, proxy_headers=_asked_by(proxy), **by_tls)
                if proxy
                else urllib3.PoolManager(**by_tls)
            )
            found.pool_classes_by_scheme = self._pools
        return found


def _asked_by(proxy: str) -> dict[str, str]:
    """The name and the password that stand in a proxy's URL, as it is shown them."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    return dict(
        urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    )


def _pools(watch: Watch, vet: Callable[[Any], None]) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections that the watch may cut."""

    def hold(connection: HTTPConnection) -> None:
        if connection.sock is None:
            connection.connect()
        watch.holds(connection.sock)

    class Plain(HTTPConnection):
        response_class = _Final

        def request(self, *args: Any, **options: Any) -> None:
            hold(self)
            super().request(*args, **options)

    class Secure(HTTPSConnection):
        response_class = _Final

        def _new_conn(self) -> socket:
            made = super()._new_conn()
            watch.holds(made)  # while a proxy takes its time, too
            return made

        def connect(self) -> None:
            super().connect()
            try:
                vet(self.sock)
            except BaseException:
                self.close()
                raise

        def request(self, *args: Any, **options: Any) -> None:
            hold(self)
            super().request(*args, **options)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
