"""MQTT between the control plane and the broker: reports and telemetry in, retained assignments out.

This is the connection itself: how it is made, kept, and made anew. What comes over it is `reception`'s, what is published
`publisher`'s. Works on MQTT 5 and falls back to 3.1.1.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgelift_contract import routes
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.mqtt.clients import BrokerAddress, begin, can_share, end, make_client, tls_of
from edgelift_fleet.mqtt.probe import answers
from edgelift_fleet.mqtt.publisher import WINDOW, Publisher
from edgelift_fleet.mqtt.reception import Admits, Reception

log = logging.getLogger(__name__)

_UNSUPPORTED_VERSION = 132
#: How long after a new connection the next one is made only to have messages handed out again, seconds.
_AGAIN_S = 10.0
#: How long a probe's word is taken for the present, seconds.
_PROBED_S = 5.0


class BrokerConnection:
    """The control plane's connection to its broker. A context: connected, and re-connected, inside the block."""

    def __init__(
        self, fleet: Fleet, address: BrokerAddress, *, on_flood: Callable[[str], None] = lambda _: None,
        probe: BrokerAddress | None = None, shared: bool = False, admits: Admits | None = None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            fleet: whose messages.
            address: of the broker.
            on_flood: told of a device that sends more than is stored.
            probe: as whom is asked whether the broker lets newcomers in; None for nobody.
            shared: telemetry is left to `sharing`, where the broker can share it.
            admits: see `Reception`.
        """
        self._fleet, self._address, self._shared = fleet, address, shared
        self._probe = probe or replace(address, username="", password="")
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._run, name="broker-connection", daemon=True)
        self._client: paho.Client | None = None
        self._changing, self._over = threading.RLock(), False  # the client is changed by one thread at a time
        self._reception = Reception(
            fleet.inbox,
            on_flood=on_flood,
            on_room=lambda: self._work.put(self._have_handed_out_again),
            admits=admits,
        )
        self._publisher = Publisher(fleet.revisions.all, fleet.sealing)
        self._made_at, self._probed_at, self._probe_answered = 0.0, -_PROBED_S, False
        self.connected = threading.Event()

    @property
    def state(self) -> str:
        """`connected`, `disconnected`, `full` when the broker answers no newcomer, or `none` where another server of
        the site is the one that connects. Asks the broker, but for an answer of the last seconds.
        """
        if not self._fleet.lead.leads:
            return "none"
        if not self.connected.is_set():
            return "disconnected"
        if time.monotonic() - self._probed_at > _PROBED_S:
            who = self._probe
            self._probe_answered = answers(who.host, who.port, who.username, who.password, tls=tls_of(who))
            self._probed_at = time.monotonic()
        return "connected" if self._probe_answered else "full"

    def __enter__(self) -> BrokerConnection:
        self._fleet.revisions.subscribe(self._publisher.tell)
        self._fleet.wanted_bundles.subscribe(self._publisher.ring)
        self._publisher.__enter__()
        self._worker.start()
        self._fleet.lead.subscribe(self._follow)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._over = True  # a change of the lead may still come
            self._disconnect()
        self._work.put(None)
        self._worker.join(3)
        self._publisher.__exit__()

    def _follow(self, leads: bool) -> None:
        """The leader alone is connected. All leaders are one client to the broker, which keeps its session from one to
        the next: what the last one did not acknowledge comes to this one.
        """
        with self._changing:
            self._disconnect()
            if leads and not self._over:
                self._connect(five=True)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            end(client)
            self.connected.clear()

    def _connect(self, *, five: bool) -> None:
        name = self._address.name or self._address.username or f"edgelift-host-{self._fleet.site.config.name}"
        client = make_client(self._address, name, five=five)
        client.max_inflight_messages_set(2 * WINDOW)  # the publisher bounds it
        client.on_connect, client.on_disconnect, client.on_message = self._on_connect, self._gone, self._came
        client.on_publish = lambda *_: self._publisher.confirmed()
        self._client = client
        begin(client, self._address)

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, props: Any) -> None:
        if reason.is_failure:
            log.warning("the broker refused us: %s", reason)
            if reason.value == _UNSUPPORTED_VERSION and client.protocol == MQTTProtocolVersion.MQTTv5:
                self._work.put(lambda: self._fall_back(client))
            return
        filters = routes.uplink_filters()
        if self._shared and can_share(client, props):
            client.unsubscribe(routes.telemetry_filter())  # which a session from before may still have
            filters = routes.state_filters()
        client.subscribe([(topic, 1) for topic in filters])
        self._made_at = time.monotonic()
        self.connected.set()
        self._publisher.connected(client)

    def _fall_back(self, client: paho.Client) -> None:
        with self._changing:
            if client is self._client:
                end(client)
                self._connect(five=False)

    def _gone(self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:
        if self.connected.is_set() and self._client is not None:
            log.warning("the broker's connection ended: %s", reason)
        self.connected.clear()
        self._publisher.disconnected()

    def _came(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/down/desired"):
            if message.retain:
                self._publisher.retained(message.topic, bytes(message.payload))
        else:
            self._reception.came(client, message)

    def _have_handed_out_again(self) -> None:
        """Connect anew: the broker then hands out whatever was not acknowledged."""
        client = self._client
        if client is None or not self.connected.is_set():
            return  # that is about to happen
        time.sleep(max(0.0, self._made_at + _AGAIN_S - time.monotonic()))
        with self._changing:
            if client is self._client:  # else it has been ended meanwhile
                client.reconnect()

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("a fault in the broker connection")  # one bad message must not end the connection
