"""Does a broker let a newcomer in? Asked as a newcomer would: a connection that stands says nothing of the next one."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import AbstractContextManager

_CONNACK = 0x20
_DISCONNECT = b"\xe0\x00"
#: More than any broker needs that isn't overrun, seconds.
_PATIENCE_S = 2.0


def answers(
    host: str, port: int, username: str = "", password: str = "", *,
    patience_s: float = _PATIENCE_S, tls: ssl.SSLContext | None = None,
) -> bool:  # fmt: skip
    """Does it answer a CONNECT (of MQTT 3.1.1, which every broker reads), with whatever word?

    Args:
        host: the broker's.
        port: the broker's.
        username: of a user who has nothing to do there; nobody's when empty, and a refusal is an answer, too.
        password: the user's.
        patience_s: how long each step may take.
        tls: what vouches for it where it is asked over TLS.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=patience_s) as wire,
            _wrapped(wire, host, tls) as link,
        ):
            link.settimeout(patience_s)
            link.sendall(connect_packet(username, password))
            answer = link.recv(4)
            if len(answer) == 4 and answer[0] == _CONNACK:
                link.sendall(_DISCONNECT)
                return True
    except OSError:
        pass
    return False


def _wrapped(wire: socket.socket, host: str, tls: ssl.SSLContext | None) -> AbstractContextManager[socket.socket]:
    return tls.wrap_socket(wire, server_hostname=host) if tls else wire


def connect_packet(username: str = "", password: str = "") -> bytes:
    """A CONNECT with a clean session; the server gives the name (MQTT 3.1.1, 3.1)."""
    flags = 0x02 | (0xC0 if username else 0)
    payload = _text("") + (_text(username) + _text(password) if username else b"")
    rest = _text("MQTT") + struct.pack("!BBH", 4, flags, 10) + payload
    assert len(rest) < 128  # one byte of length
    return bytes((0x10, len(rest))) + rest


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data
