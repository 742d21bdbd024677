"""Proxies: one that hands bytes on to whom it is told (CONNECT), and one that ends TLS before a server of ours."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tests.simulators.certificates import Certificate


class _Relay(ABC):
    """Listens, and joins each connection with another. A context."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            near, far = self.join(client)
            self._open.append(far)
            threading.Thread(target=_pump, args=(near, far), daemon=True).start()
            _pump(far, near)

    @abstractmethod
    def join(self, client: socket.socket) -> tuple[socket.socket, socket.socket]:
        """The client, and whom it is joined with."""


class ConnectProxy(_Relay):
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
            client.close()
            raise ValueError(target)
        far = socket.create_connection(("127.0.0.1", self._port_of()))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return client, far


class EndsTls(_Relay):
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


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            one.close()
