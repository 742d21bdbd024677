"""Proxies: one that hands bytes on to whom it is told (CONNECT), and one that ends TLS before a server of ours."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from tests.simulators.certificates import Certificate
from tests.simulators.relay import Relay


class ConnectProxy(Relay):
    """Asked for `names`, all of which it alone knows; `asked` is whom it was asked for."""

    def __init__(self, port_of: Callable[[], int], *names: str, refuses: bool = False) -> None:
        super().__init__()
        self._port_of, self._names, self._refuses = port_of, names, refuses
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.port}"

    def join(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096) or b"\r\n\r\n"
        method, target, _ = head.decode().split("\r\n")[0].split(" ")
        self.asked.append(target)
        if self._refuses or method != "CONNECT" or target.partition(":")[0] not in self._names:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            raise ValueError(target)
        far = socket.create_connection(("127.0.0.1", self._port_of()))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, far


class EndsTls(Relay):
    """Shows a certificate of its own, and calls the server behind it over TLS of its own."""

    def __init__(self, port: int, certificate: Certificate, authorities: str) -> None:
        super().__init__()
        self._port = port
        self._near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._near.load_cert_chain(certificate.path, certificate.key)
        self._far = ssl.create_default_context(cafile=authorities)
        self.url = f"https://127.0.0.1:{self.port}"

    def join(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        near = self._near.wrap_socket(client, server_side=True)
        far = socket.create_connection(("127.0.0.1", self._port))
        return near, self._far.wrap_socket(far, server_hostname="127.0.0.1")
