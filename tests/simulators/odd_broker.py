"""A broker of MQTT 5 that takes everything, and sends whatever a test wants to whoever has subscribed."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO


def number(value: int) -> bytes:
    """MQTT's number of variable length."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def publish(topic: bytes, payload: bytes, *, properties: bytes = b"\0") -> bytes:
    """A retained message of QoS 0, whatever stands in it."""
    body = struct.pack(">H", len(topic)) + topic + properties + payload
    return b"\x31" + number(len(body)) + body


class OddBroker:
    """Answers as a broker must, so that it is believed; then sends `odd`, as long as `odd` is something.

    Attributes:
        connects: how often somebody said CONNECT.
        connect: what stood in the last one.
    """

    def __init__(self, odd: bytes) -> None:
        self.odd, self.connects, self.connect = odd, 0, b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError, IndexError):
            answers: dict[int, Callable[[int, bytes], bytes]] = {
                1: lambda _, __: b"\x20\x03\0\0\0",
                3: lambda flags, body: b"\x40\x02" + self._id(body) if flags & 6 else b"",
                8: lambda _, body: b"\x90\x04" + body[:2] + b"\0\1" + self.odd,
                12: lambda _, __: b"\xd0\0",
            }
            while True:
                first = stream.read(1)[0]
                body = self._body(stream)
                if first >> 4 == 1:
                    self.connects, self.connect = self.connects + 1, body
                connection.sendall(answers.get(first >> 4, lambda _, __: b"")(first, body))

    @staticmethod
    def _body(stream: BinaryIO) -> bytes:
        length = shift = 0
        while True:
            one = stream.read(1)[0]
            length |= (one & 127) << shift
            shift += 7
            if one < 128:
                return stream.read(length)

    @staticmethod
    def _id(published: bytes) -> bytes:
        end = 2 + struct.unpack(">H", published[:2])[0]
        return published[end : end + 2]

    def close(self) -> None:
        self._server.close()
