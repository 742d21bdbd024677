"""One board's connection to the broker, in an event loop: paho does MQTT, the loop watches its socket.

Every connection is a client of its own with a will of its own: what was not confirmed when one ended is for the
board's outbox to send again, and nothing of the old connection can reach the new one. A simulator that kept one client
went deaf at the broker's first restart (it never subscribed again) or waited for ever for a confirmation.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgelift_contract.enrol import BrokerAccess
from edgelift_fleet.mqtt.buffered import BufferedClient

KEEPALIVE_S = 60

#: For the one call of paho's that blocks: making the TCP connection.
_CONNECTING = ThreadPoolExecutor(16, thread_name_prefix="mqtt-connect")


class MqttLink:
    """One connection. `lost` is set when it has ended; it is not used again."""

    def __init__(
        self,
        access: BrokerAccess,
        device: str,
        *,
        will: tuple[str, bytes],
        on_message: Callable[[str, bytes], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind.

        Args:
            access: the broker, and who the board is there.
            device: the board's id.
            will: topic and payload, retained.
            on_message: given the topic and the payload of whatever comes.
            tls: shows the board's certificate; None for one who comes by a password.
        """
        self._access, self._on_message = access, on_message
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[None] = self._loop.create_future()
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._socket: Any = None
        self._opening, self._abandoned = threading.Lock(), False
        self._timer: asyncio.TimerHandle | None = None
        client = BufferedClient(
            CallbackAPIVersion.VERSION2, client_id=device, protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )  # fmt: skip
        if access.username:
            client.username_pw_set(access.username, access.password)
        if access.tls and tls is not None:
            client.tls_set_context(tls)
        elif access.tls:
            client.tls_set()
        client.will_set(will[0], will[1], qos=1, retain=True)
        client.max_inflight_messages_set(0)
        client.on_connect = self._connected
        client.on_disconnect = self._gone
        client.on_publish = self._confirmed
        client.on_message = lambda _client, _data, message: on_message(message.topic, bytes(message.payload))
        self._client = client

    async def connect(self, patience_s: float = 30.0) -> None:
        """Connect; raises OSError when the broker refuses or does not answer."""
        try:
            await self._loop.run_in_executor(_CONNECTING, self._open)
        except asyncio.CancelledError:
            self._abandon()
            raise
        self._socket = self._client.socket()
        if self._socket is None:
            raise ConnectionError("the broker closed the connection")
        self._client.on_socket_register_write = lambda *_: self._watch_writing()
        self._client.on_socket_unregister_write = lambda *_: self._unwatch_writing()
        self._client.on_socket_close = lambda *_: self._unwatch()
        self._loop.add_reader(self._socket, self._read)
        if self._client.want_write():
            self._watch_writing()
        self._tick()
        try:
            await asyncio.wait_for(asyncio.shield(self._welcome), patience_s)
        except asyncio.TimeoutError as error:
            self.cut()
            raise ConnectionError("the broker did not answer in time") from error
        except BaseException:
            self.cut()  # refused, or nobody waits any more
            raise

    def _open(self) -> None:
        """Connect, in a thread; nobody may want it any more by the time that the broker has answered."""
        self._client.connect(self._access.host, self._access.port, KEEPALIVE_S)
        with self._opening:
            if self._abandoned and (sock := self._client.socket()):
                sock.close()

    def _abandon(self) -> None:
        with self._opening:
            self._abandoned = True
            if sock := self._client.socket():
                sock.close()

    async def publish(self, topic: str, data: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1; returns once it is confirmed. Raises OSError when the connection ends before."""
        if self.lost.is_set():
            raise ConnectionError("the broker's connection ended")
        message = self._client.publish(topic, data, qos=1, retain=retain)
        if self.lost.is_set():  # it was found out by this very writing
            raise ConnectionError("the broker's connection ended")
        done = self._unconfirmed[message.mid] = self._loop.create_future()
        await done

    def subscribe(self, *topics: str) -> None:
        """Ask for topics."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def disconnect(self) -> None:
        """Leave without the will being told."""
        self._client.disconnect()
        self.cut()

    def cut(self) -> None:
        """Break it off as a lost link does: the broker tells the will."""
        if sock := self._unwatch():
            sock.close()
        self._end("the connection was cut")

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if self._welcome.done():
            return
        if reason.is_failure:
            self._welcome.set_exception(ConnectionError(f"the broker refused: {reason}"))
        else:
            self._welcome.set_result(None)

    def _gone(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._end(f"the broker's connection ended: {reason}")

    def _end(self, why: str) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._unconfirmed = self._unconfirmed, {}
        for future in (self._welcome, *waiting.values()):
            if not future.done():
                future.set_exception(ConnectionError(why))
        if self._welcome.done() and not self._welcome.cancelled():
            self._welcome.exception()  # it may be that nobody waits for it any more

    def _confirmed(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        future = self._unconfirmed.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _watch_writing(self) -> None:
        if self._socket is not None:
            self._loop.add_writer(self._socket, self._client.loop_write)

    def _unwatch_writing(self) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)

    def _unwatch(self) -> Any:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        return sock

    def _read(self) -> None:
        self._client.loop_read()
        while self._socket is not None and self._socket.pending():
            self._client.loop_read()  # TLS has read ahead: the socket itself shows nothing

    def _tick(self) -> None:
        self._client.loop_misc()  # keep-alive
        if not self.lost.is_set():
            self._timer = self._loop.call_later(KEEPALIVE_S / 4, self._tick)
