"""A client of the broker that reads what has come at once, not packet by packet.

paho asks the socket whether something is there for each packet, and then four times for its bytes. In a server with
other threads each of these calls may hand the interpreter to another one, so that taking a message costs more than
storing it. Here one call fetches all that has come, and all whole packets of it are handled before the socket is asked
again. Should a later paho not call what is overridden here, it reads as it always did.
"""

from __future__ import annotations

import socket
import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

#: What is fetched at once, bytes: some hundred windows, four records of TLS.
READ_BYTES = 64 * 1024
#: Packets that are handled before what waits to be sent has its turn: acknowledgements, and the sign of life without which
#: a broker ends a connection, must not wait for the end of a backlog.
PACKETS_AT_ONCE = 200


class BufferedSocket:
    """A socket that is read in large pieces and handed out in small ones; all else is the socket's own."""

    def __init__(self, plain: socket.socket) -> None:
        if plain.family in (socket.AF_INET, socket.AF_INET6):
            # Packets are written whole; else each small one waits for the word that the last has come, some 40 ms.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain, self._data, self._at = plain, b"", 0

    @property
    def held(self) -> int:
        """Bytes that were fetched and not handed out yet."""
        return len(self._data) - self._at

    def recv(self, most: int) -> bytes:
        """At most so many bytes; empty at the end of the stream. Raises what the socket raises when it has none."""
        if not self.held:
            self._data, self._at = self._plain.recv(max(most, READ_BYTES)), 0
        data = self._data[self._at : self._at + most]
        self._at += len(data)
        return data

    def pending(self) -> int:
        """Bytes for which the socket itself need not be waited for."""
        return self.held or (self._plain.pending() if isinstance(self._plain, ssl.SSLSocket) else 0)

    def send(self, data: bytes | bytearray) -> int:
        """See `socket`."""
        return self._plain.send(data)

    def close(self) -> None:
        """See `socket`."""
        self._plain.close()

    def fileno(self) -> int:
        """See `socket`."""
        return self._plain.fileno()

    def setblocking(self, flag: bool) -> None:
        """See `socket`."""
        self._plain.setblocking(flag)


class BufferedClient(paho.Client):
    """paho's client over a `BufferedSocket`."""

    _held_by: BufferedSocket | None = None

    def _create_socket(self) -> paho.SocketLike:
        self._held_by = BufferedSocket(super()._create_socket())  # type: ignore[arg-type]  # never a websocket
        return self._held_by  # all of a socket that paho uses

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Handle the packets that have come. Called by paho's own loop when there is something to read."""
        for _ in range(PACKETS_AT_ONCE):
            code = super().loop_read(max_packets)
            if code or self._held_by is None or not self._held_by.held:
                break
        return code
