"""A bare MQTT client for tests and simulated devices."""

from __future__ import annotations

import threading
from typing import Any

from edgelift_contract.enrol import BrokerAccess


def connect_mqtt(
    access: BrokerAccess, client_id: str, *, version_5: bool = True, will: tuple[str, bytes] | None = None
) -> Any:
    """A paho client with a running loop, connected.

    Raises:
        ConnectionError: the broker refused or did not answer within a minute; the message says which.
    """
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    protocol = MQTTProtocolVersion.MQTTv5 if version_5 else MQTTProtocolVersion.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol)
    if access.username:
        client.username_pw_set(access.username, access.password)
    if will is not None:
        client.will_set(will[0], will[1], qos=1, retain=True)
    answered = threading.Event()
    reasons: list[str] = []

    def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            reasons.append(str(reason))
        answered.set()

    client.on_connect = on_connect
    client.connect(access.host, access.port, keepalive=30)
    client.loop_start()
    if not answered.wait(60) or reasons:
        client.disconnect()
        client.loop_stop()
        raise ConnectionError(reasons[0] if reasons else "the broker did not answer")
    return client
