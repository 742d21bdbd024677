"""A client of the broker, as every connection of the control plane makes one: MQTT 5, a session that outlives it."""

from __future__ import annotations

import logging
import random
import ssl
import sys
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgelift_fleet.mqtt.buffered import BufferedClient

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
_SESSION_S = 3600


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is, and who we are there; no user means that it lets anyone in.

    Attributes:
        host, port: of the broker.
        username, password: ours.
        tls: is it asked over TLS?
        ca: file of the certificates that vouch for it; empty for the system's.
        name: of our certificate, which the broker takes for our user and client id; empty where we show none.
        context: by which it is shown.
    """

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls: bool = False
    ca: str = ""
    name: str = ""
    context: ssl.SSLContext | None = None


def make_client(address: BrokerAddress, name: str, *, five: bool = True) -> paho.Client:
    """A client called `name` that acknowledges by hand; `begin` connects it."""
    protocol = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
    # A session that outlives a broken connection keeps what devices sent meanwhile.
    clean = None if five else False
    client = BufferedClient(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=protocol)
    if address.username:
        client.username_pw_set(address.username, address.password)
    if (tls := tls_of(address)) is not None:
        client.tls_set_context(tls)
    client.manual_ack_set(True)
    client.on_connect_fail = _Failures(address)
    client.max_queued_messages_set(10_000)
    client.reconnect_delay_set(min_delay=1, max_delay=random.randint(10, 30))  # noqa: S311 - spreads load
    return client


class _Failures:
    """Says why a broker isn't reached, once a cause."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address, self._said = address, ""

    def __call__(self, _client: paho.Client, _data: object) -> None:
        text = str(sys.exc_info()[1])  # paho calls while it handles it, and passes it to nobody
        if text != self._said:
            self._said = text
            log.warning("the broker %s:%d is not reached: %s", self._address.host, self._address.port, text)


def tls_of(address: BrokerAddress) -> ssl.SSLContext | None:
    """What vouches for the broker: what the address says, else the system's; None for in the clear."""
    if address.context is not None:
        return address.context
    return ssl.create_default_context(cafile=address.ca or None) if address.tls else None


def begin(client: paho.Client, address: BrokerAddress) -> None:
    """Connect, and keep connected, in a thread of paho's."""
    options: dict[str, Any] = {"keepalive": KEEPALIVE_S}
    if client.protocol == MQTTProtocolVersion.MQTTv5:
        options |= {"clean_start": False, "properties": expiry(PacketTypes.CONNECT, _SESSION_S)}
    client.connect_async(address.host, address.port, **options)
    client.loop_start()


def can_share(client: paho.Client, connack: Properties | None) -> bool:
    """Does the broker know `$share`, by what it said when it let us in?"""
    five = client.protocol == MQTTProtocolVersion.MQTTv5
    return five and getattr(connack, "SharedSubscriptionAvailable", 1) == 1


def end(client: paho.Client, *, forget: bool = False) -> None:
    """Disconnect; with `forget` the broker is to drop the session at once. MQTT 5 alone can."""
    if forget:
        client.disconnect(properties=expiry(PacketTypes.DISCONNECT, 0))
    else:
        client.disconnect()
    client.loop_stop()


def expiry(packet: int, seconds: int) -> Properties:
    """How long the broker keeps the session of a client that is gone."""
    made = Properties(packet)  # type: ignore[no-untyped-call]  # paho has no types here
    made.SessionExpiryInterval = seconds
    return made
