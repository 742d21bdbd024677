"""MQTT to the host, by paho: the retained assignment in; report, presence and telemetry out.

Works on MQTT 5 and 3.1.1. paho's thread only hands over what came; it keeps no queue of its own worth the
name (`outbox` does that), and `send_*` returns once the broker has confirmed.

Presence carries an epoch, as Sparkplug's bdSeq does: the host ignores a will older than the newest birth, so
a late will never marks a reconnected device as gone.
"""

from __future__ import annotations

import logging
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any

from edgelift_agent.link.causes import failed_connection
from edgelift_contract import codec, routes
from edgelift_contract.assignment import MAX_ASSIGNMENT_BYTES
from edgelift_contract.bundle import BundleAsked
from edgelift_contract.enrol import BrokerAccess
from edgelift_contract.errors import ContractError, TransportError
from edgelift_contract.replies import MAX_REPLY_BYTES
from edgelift_contract.report import Presence

log = logging.getLogger(__name__)

#: A connection that lasted this long was a good one, seconds. One that ends sooner, again and again, is taken by
#: another device of the same id (a cloned card) or refused in its first moments: the next waits longer.
STEADY_S = 60.0
#: Largest packet that a broker of MQTT 5 is to send us: an assignment, its topic and properties, bytes. paho gathers a
#: packet whole, and there may be 256 MB of one.
MAX_PACKET_BYTES = 8 * MAX_ASSIGNMENT_BYTES
#: Most that the next connection waits, seconds.
MAX_RECONNECT_S = 300


class MqttTransport:
    """One broker, as one device.

    Attributes:
        on_bundle: given the bundle that the host wants, from paho's thread; to be set before `start`.
    """

    def __init__(
        self,
        access: BrokerAccess,
        device: str,
        epoch: str,
        *,
        timeout_s: float = 20.0,
        keepalive_s: int = 30,
        version_5: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind; nothing is sent before `start`.

        Args:
            access: where the broker is and who we are there.
            device: this device's id, which is also the client id.
            epoch: of this process, for presence.
            timeout_s: how long to wait for a confirmation.
            keepalive_s: a broker that is silent for twice as long counts as gone.
            version_5: speak MQTT 5; else 3.1.1.
            tls: what a broker over TLS is spoken to by, with this device's certificate; None for the system's way.
        """
        self._tls = tls
        self._access, self._device, self._epoch = access, device, epoch
        self._timeout_s, self._keepalive_s, self._version_5 = timeout_s, keepalive_s, version_5
        self._connects = self._short_lived = 0
        self._connected_at, self._said = 0.0, ""
        # A fleet must not knock in step.
        self._random = random.Random(f"{device} {epoch}")  # noqa: S311 - spreading load, not guarding a secret
        self._client: Any = None
        self._on_assignment: Callable[[bytes], None] = lambda _: None
        self._on_connected: Callable[[], None] = lambda: None
        self._on_lost: Callable[[], None] = lambda: None
        self.on_bundle: Callable[[str], None] = lambda _: None
        self._ending = threading.Event()
        self.connected = threading.Event()

    def start(
        self,
        on_assignment: Callable[[bytes], None],
        on_connected: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect and stay connected, from a thread of paho's own; both are called from there.

        Args:
            on_assignment: given whatever stands in the assignment's place, readable or not, at most a byte too long.
            on_connected: called at every connect.
            on_lost: called when a connection ended.
        """
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # late: HTTP alone doesn't need it

        from edgelift_agent.link.steady import SteadyClient

        self._on_assignment, self._on_connected, self._on_lost = on_assignment, on_connected, on_lost
        protocol = MQTTProtocolVersion.MQTTv5 if self._version_5 else MQTTProtocolVersion.MQTTv311
        client = SteadyClient(CallbackAPIVersion.VERSION2, client_id=self._device, protocol=protocol)
        if self._access.password:  # one that knows devices by certificate takes the name from there
            client.username_pw_set(self._access.username, self._access.password)
        if self._access.tls and self._tls is not None:
            client.tls_set_context(self._tls)
        elif self._access.tls:
            client.tls_set()
        client.max_queued_messages_set(200)
        client.reconnect_delay_set(*self._delay_s())
        client.on_connect = self._connected
        client.on_connect_fail = self._not_reached
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        client.on_fault = self._fault
        self._client = client
        self._set_will()
        self._connect(client)
        client.loop_start()

    def _connect(self, client: Any) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = None
        if self._version_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has none
            properties.MaximumPacketSize = MAX_PACKET_BYTES
        address = (self._access.host, self._access.port)
        client.connect_async(*address, keepalive=self._keepalive_s, properties=properties)

    def _fault(self, error: Exception) -> bool:
        """Something came that paho can't digest: connect anew, later and later; False when we are to end."""
        client = self._client
        if client is None:
            return False
        self._cut(client)
        self._disconnected(client, None, None, f"{type(error).__name__}: {error}", None)
        if self._ending.wait(self._delay_s()[0]):
            return False
        self._connect(client)
        return True

    def stop(self) -> None:
        """Say good-bye and disconnect; returns when no further call will come."""
        self._ending.set()
        client, self._client = self._client, None
        if client is None:
            return
        if self.connected.is_set():
            info = client.publish(
                routes.state_topic(self._device), self._presence(online=False), qos=1, retain=True
            )
            try:
                info.wait_for_publish(2.0)
            except (RuntimeError, ValueError):
                pass  # the link went; the will speaks for us
        client.disconnect()
        client.loop_stop()
        self.connected.clear()

    def send_report(self, data: bytes) -> None:
        """See `ports.Host`."""
        self._publish(routes.reported_topic(self._device), data, retain=True)

    def send_batch(self, data: bytes) -> None:
        """See `ports.Host`."""
        self._publish(routes.telemetry_topic(self._device), data, retain=False)

    def _publish(self, topic: str, data: bytes, *, retain: bool) -> None:
        client = self._client
        if client is None or not self.connected.is_set():
            raise TransportError("unreachable", "The MQTT broker is not connected.")
        info = client.publish(topic, data, qos=1, retain=retain)
        try:
            info.wait_for_publish(self._timeout_s)
        except (RuntimeError, ValueError) as error:
            raise TransportError("unreachable", f"The MQTT broker did not take a message: {error}.") from error
        if not info.is_published():
            self._cut(client)  # a broker that confirms nothing is as good as gone: notice it now, connect anew
            raise TransportError("timed-out", "The MQTT broker did not confirm a message in time.")

    def _delay_s(self) -> tuple[int, int]:
        """Least and most that a reconnect waits, seconds; paho doubles from the one to the other, without jitter."""
        first = min(MAX_RECONNECT_S, self._random.randint(1, 3) * 2 ** min(self._short_lived, 8))
        return self._random.randint((first + 1) // 2, first), max(first, self._random.randint(60, 120))

    @staticmethod
    def _cut(client: Any) -> None:
        sock = client.socket()
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    def _presence(self, *, online: bool) -> bytes:
        presence = Presence(Presence.SCHEMA, self._device, online, self._epoch, self._connects)
        return codec.canonical_json(presence)

    def _set_will(self) -> None:
        self._connects += 1
        self._client.will_set(routes.state_topic(self._device), self._presence(online=False), qos=1, retain=True)

    def _connected(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.warning("the broker refused the connection: %s", reason)
            return
        self._said = ""
        log.info("connected to the broker %s:%d", self._access.host, self._access.port)
        client.publish(routes.state_topic(self._device), self._presence(online=True), qos=1, retain=True)
        client.subscribe([(routes.desired_topic(self._device), 1), (routes.bundle_topic(self._device), 1)])
        self._connected_at = time.monotonic()
        self.connected.set()
        self._on_connected()

    def _not_reached(self, _client: Any, _userdata: Any) -> None:
        """Say why, once a cause: the host is asked over HTTP meanwhile, so nothing else tells of it."""
        error = sys.exc_info()[1]  # paho calls while it handles it, and passes it to nobody
        if error is None:
            return
        found = failed_connection(error, f"The broker {self._access.host}:{self._access.port}")
        if found.message != self._said:
            self._said = found.message
            log.warning("broker code=%s %s %s", found.code, found.message, "HTTP does its work meanwhile.")

    def _disconnected(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self.connected.is_set():
            lived_s = time.monotonic() - self._connected_at
            self._short_lived = self._short_lived + 1 if lived_s < STEADY_S else 0
            again = " (again so soon: does another device use this id?)" if self._short_lived > 1 else ""
            log.warning("the broker's connection ended after %.0f s: %s%s", lived_s, reason, again)
        self.connected.clear()
        if self._client is not None:
            self._client.reconnect_delay_set(*self._delay_s())
            self._set_will()  # the next connection's will carries a newer epoch
        self._on_lost()

    def _message(self, _client: Any, _userdata: Any, message: Any) -> None:
        # Another topic can only come of a broker's fault; what is too long is cut, and refused for its length.
        if message.topic == routes.desired_topic(self._device) and message.payload:
            self._on_assignment(bytes(message.payload[: MAX_PACKET_BYTES + 1]))
        elif message.topic == routes.bundle_topic(self._device):
            self._bundle(bytes(message.payload[: MAX_REPLY_BYTES + 1]))

    def _bundle(self, data: bytes) -> None:
        try:
            asked = codec.decode_json(data, BundleAsked, what="wish for a bundle", limit_bytes=MAX_REPLY_BYTES)
        except ContractError as error:
            log.warning("a wish for a bundle was not understood code=%s %s", error.code, error)
            return
        if asked.device == self._device:
            self.on_bundle(asked.bundle)
