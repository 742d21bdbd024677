"""Where a server is called: HTTPS, and plain HTTP on a site of an older release until its devices have moved over."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp

from edgelift_contract.errors import DeviceError
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.identity.files import own_names
from edgelift_fleet.identity.tls import ServerTls
from edgelift_fleet.web.server import HttpServer


@dataclass(frozen=True)
class Ports:
    """Where a server listens; 0 takes a free port.

    Attributes:
        host: address.
        http: port of HTTPS, and of plain HTTP on a site that speaks that.
        mqtt: of a broker of our own, over TLS, and in the clear on a site that speaks that.
        tls: on a site that speaks plain HTTP, HTTPS beside it, so that devices can move over; None for none.
        proxies: addresses and networks of what stands before the server, which are believed whom a request came from.
    """

    host: str
    http: int
    mqtt: int = 0
    tls: int | None = None
    proxies: Sequence[str] = ()


_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


class Doors:
    """A server's listening sockets. A context: bound inside the block, and answered inside `open`.

    Attributes:
        url: where it is called.
        tls_url: HTTPS beside plain HTTP; empty without.
        places: connections at once.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._stack = ExitStack()
        self._servers: list[HttpServer] = []
        self.url = self.tls_url = ""
        self.places = 0

    def __enter__(self) -> Doors:
        """Raises DeviceError as `listen`."""
        with ExitStack() as stack:
            self._first = stack.enter_context(listen(self._ports.host, self._ports.http))
            self._beside = (
                stack.enter_context(listen(self._ports.host, self._ports.tls))
                if self._ports.tls is not None
                else None
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        """Connections that are open."""
        return sum(len(server) for server in self._servers)

    def secure(self, fleet: Fleet) -> ServerTls | None:
        """What TLS is spoken by; None where none is. Raises DeviceError: `bad-config`, the disk's."""
        if not fleet.secure and self._beside is None:
            return None
        if self._beside is not None:
            fleet.identities.port = self._beside.getsockname()[1]
        names = own_names(self._ports.host, fleet.site.config.names)
        return ServerTls(fleet.identities, fleet.site.run, names)

    @contextmanager
    def open(self, app: ASGIApp, *, places: int, grace_s: int, tls: ServerTls | None) -> Iterator[None]:
        """Answer for as long as the block runs."""
        self.places = places
        with ExitStack() as stack:

            def begin(listener: socket.socket, tls: ServerTls | None) -> str:
                context = (lambda: tls.context) if tls is not None else None
                server = HttpServer(
                    app, listener, places=places, grace_s=grace_s, tls=context, proxies=self._ports.proxies
                )
                self._servers.append(stack.enter_context(server))
                return _url("https" if tls is not None else "http", self._ports.host, listener)

            if self._beside is not None and tls is not None:
                self.tls_url = begin(self._beside, tls)
                self.url = begin(self._first, None)
            else:
                self.url = begin(self._first, tls)
            yield

    def outside(self, names: Sequence[str]) -> str:
        """Where devices call: HTTPS where there is any, by the first name that is not this machine's own alone."""
        url = self.tls_url or self.url
        scheme, _, rest = url.partition("://")
        if self._ports.host not in _WILDCARDS:
            return url
        name = next((one for one in names if one not in ("localhost", "127.0.0.1", "::1")), "127.0.0.1")
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{rest.rpartition(':')[2]}"

    def end(self, devices: Collection[str] | None) -> None:
        """End all connections of these devices, of all that have a certificate for None; from any thread."""
        for server in self._servers:
            server.end(devices)


def check_proxies(named: Sequence[str]) -> Sequence[str]:
    """What may stand before a server: addresses and networks. Raises DeviceError `bad-config` for what is neither."""
    for one in named:
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise DeviceError(
                "bad-config", f"{one[:80]!r} is no address of a proxy: {error}.",
                hint="Write --behind-proxy 127.0.0.1, or behind_proxy = [\"10.0.0.0/8\"] in site.toml.",
            ) from error  # fmt: skip
    return named


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        DeviceError: `port-in-use`, or `bad-config` for an address that isn't this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
        # Connections inherit it. Without, the second packet of an answer waits 40 ms for the client's word on the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DeviceError(
                "port-in-use",
                f"Port {port} on {host} is in use by another program.",
                hint="Choose another with --port, or stop that program.",
            ) from error
        raise DeviceError("bad-config", f"{host}:{port} cannot be listened on: {error.strerror}.") from error


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    # A wildcard address is where to listen, not where to call.
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"{scheme}://{f'[{name}]' if ':' in name and '[' not in name else name}:{listener.getsockname()[1]}"
