"""A client of the broker that reads what has come at once, not packet by packet.

paho asks the socket whether something is there for each packet, and then four times for its bytes. In a server with
other threads each of these calls may hand the interpreter to another one, so that taking a message costs more than
storing it. Here one call fetches all that has come, and all whole packets of it are handled before the socket is asked
again. And paho makes an object of a hundred attributes for the properties that a message may have, looks for a callback of
its topic, and words a line for a log: a message without properties, as boards send them, is given on without. Should a
later paho not call what is overridden here, it reads as it always did.
"""

from __future__ import annotations

import socket
import ssl

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

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


def read_plain(command: int, packet: bytes | bytearray) -> paho.MQTTMessage | None:
    """A message of QoS 1 without properties; MQTT 5, section 3.3. None for any other: paho knows more.

    Args:
        command: the packet's first byte.
        packet: what follows its length.
    """
    size = int.from_bytes(packet[:2], "big")
    after = size + 5  # the topic's length, the topic, the message's number, and how long its properties are
    if command & 0xF6 != 0x32 or size == 0 or len(packet) < after or packet[after - 1]:
        return None
    topic = bytes(packet[2 : 2 + size])
    if not topic.isascii() or 0 in topic:
        return None
    message = paho.MQTTMessage(int.from_bytes(packet[2 + size : 4 + size], "big"), topic)
    message.qos, message.dup, message.retain = 1, bool(command & 8), bool(command & 1)
    message.payload = bytes(packet[after:])
    return message


class BufferedClient(paho.Client):
    """paho's client over a `BufferedSocket`; `on_message` alone hears of messages, and acknowledges them itself."""

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

    def _handle_publish(self) -> MQTTErrorCode:
        five, told = self._protocol == MQTTProtocolVersion.MQTTv5, self._manual_ack and self.on_message
        message = read_plain(self._in_packet["command"], self._in_packet["packet"]) if five and told else None
        if message is None or not told:
            return super()._handle_publish()
        with self._in_callback_mutex:
            told(self, self._userdata, message)
        return MQTTErrorCode.MQTT_ERR_SUCCESS
