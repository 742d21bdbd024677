"""MQTT between the control plane and the broker: reports and telemetry in, retained assignments out.

paho's thread only hands over what came; one worker takes it in, and a message is acknowledged only once it is
stored, so that a crash in between costs nothing. Assignments are published from the worker too: all of them at
every connect, one at every change. Works on MQTT 5 and falls back to 3.1.1.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgelift_contract import routes
from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.inbox import Outcome
from edgelift_fleet.intake import Message
from edgelift_fleet.revisions import Latest

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
_SESSION_S = 3600
_UNSUPPORTED_VERSION = 132
_KINDS: dict[str, Literal["report", "telemetry", "presence"]] = {
    "up/reported": "report", "up/telemetry": "telemetry", "up/state": "presence",
}  # fmt: skip


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is, and who we are there; no user means that it lets anyone in."""

    host: str
    port: int
    username: str = ""
    password: str = ""


class BrokerConnection:
    """The control plane's connection to its broker. A context: connected, and re-connected, inside the block."""

    def __init__(self, fleet: Fleet, address: BrokerAddress) -> None:
        self._fleet, self._address = fleet, address
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._run, name="broker-connection", daemon=True)
        self._client: paho.Client | None = None
        self.connected = threading.Event()

    @property
    def state(self) -> str:
        """`connected`, `disconnected`, or `none` where another server of the site is the one that connects."""
        if not self._fleet.lead.leads:
            return "none"
        return "connected" if self.connected.is_set() else "disconnected"

    def __enter__(self) -> BrokerConnection:
        self._fleet.revisions.subscribe(lambda told: self._work.put(lambda: self._publish(told)))
        self._worker.start()
        self._fleet.lead.subscribe(self._follow)
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()
        self._work.put(None)
        self._worker.join(3)

    def _follow(self, leads: bool) -> None:
        """The leader alone is connected. All leaders are one client to the broker, which keeps its session from one to
        the next: what the last one did not acknowledge comes to this one.
        """
        self._disconnect()
        if leads:
            self._connect(MQTTProtocolVersion.MQTTv5)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
            self.connected.clear()

    def _connect(self, protocol: MQTTProtocolVersion) -> None:
        five = protocol == MQTTProtocolVersion.MQTTv5
        name = self._address.username or f"edgelift-host-{self._fleet.site.config.name}"
        # A session that outlives a broken connection keeps what devices sent meanwhile.
        clean = None if five else False
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=protocol)
        if self._address.username:
            client.username_pw_set(self._address.username, self._address.password)
        client.manual_ack_set(True)
        client.max_queued_messages_set(10_000)
        client.reconnect_delay_set(min_delay=1, max_delay=random.randint(10, 30))  # noqa: S311 - spreads load
        client.on_connect, client.on_disconnect, client.on_message = self._on_connect, self._gone, self._came
        self._client = client
        options: dict[str, Any] = {"keepalive": KEEPALIVE_S}
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no types here
            properties.SessionExpiryInterval = _SESSION_S
            options |= {"clean_start": False, "properties": properties}
        client.connect_async(self._address.host, self._address.port, **options)
        client.loop_start()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if reason.is_failure:
            log.warning("the broker refused us: %s", reason)
            if reason.value == _UNSUPPORTED_VERSION and client.protocol == MQTTProtocolVersion.MQTTv5:
                self._work.put(lambda: self._fall_back(client))
            return
        client.subscribe([(topic, 1) for topic in routes.uplink_filters()])
        self.connected.set()
        self._work.put(self._publish_all)

    def _fall_back(self, client: paho.Client) -> None:
        if client is self._client:
            client.disconnect()
            client.loop_stop()
            self._connect(MQTTProtocolVersion.MQTTv311)

    def _gone(self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if self.connected.is_set() and self._client is not None:
            log.warning("the broker's connection ended: %s", reason)
        self.connected.clear()

    def _came(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        device, rest = routes.split_topic(message.topic) or ("", "")
        kind, data = _KINDS.get(rest), bytes(message.payload)
        if kind is None or not data:  # or a retained message that someone cleared
            client.ack(message.mid, message.qos)
            return
        topic, number, qos = message.topic, message.mid, message.qos

        def done(outcome: Outcome) -> None:
            if _is_over(topic, outcome):
                client.ack(number, qos)

        try:
            self._fleet.inbox.put(device, Message(kind, device, data, "mqtt"), len(data), done)
        except EdgeliftError:
            pass  # the server stops: the broker hands it out again

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a fault in the broker connection")  # one bad message must not end the connection

    def _publish(self, told: Mapping[str, Latest]) -> None:
        for device, latest in told.items():
            self._send(device, latest.body)

    def _publish_all(self) -> None:
        for device, latest in self._fleet.revisions.all().items():
            if latest.revision:
                self._send(device, latest.body)

    def _send(self, device: str, body: bytes) -> None:
        client = self._client
        if client is not None and self.connected.is_set():
            client.publish(routes.desired_topic(device), body, qos=1, retain=True)


def _is_over(topic: str, outcome: Outcome) -> bool:
    """Is there nothing to be done any more about a message of which this became?"""
    if not isinstance(outcome, Exception):
        return True
    if not isinstance(outcome, EdgeliftError):
        log.error("a fault while a message was stored topic=%s", topic, exc_info=outcome)
        return False
    log.warning("dropped topic=%s code=%s %s", topic, outcome.code, outcome.message)
    # A message that is wrong stays wrong: acknowledged and dropped, or it would come again for ever. What is our own
    # fault is handed out again at the next connect.
    return outcome.code not in ("busy", "disk-full", "disk-error")
