"""Telemetry of one broker, shared by all servers of a site: each item goes to one of them (MQTT 5's `$share`).

Every server is a client of its own with a session that outlives it, so what a killed server had not acknowledged, and
what the broker still puts into its session, waits there. Each server shows in the database that it lives; of one that
has not for `_DEAD_S`, the leader becomes that client, takes what waits, and ends the session. Should that server live
after all, it only connects anew: an item that comes twice is stored once, by its number.

Reports and presence are not shared: they are retained, which shared subscriptions don't get, and few. The leader has
them.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import paho.mqtt.client as paho
import sqlalchemy as sa
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgelift_contract import routes
from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.db import ROWS
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.mqtt.clients import BrokerAddress, begin, can_share, end, make_client
from edgelift_fleet.mqtt.reception import Reception
from edgelift_fleet.tables import ControlRow

log = logging.getLogger(__name__)

GROUP = "edgelift"
_BEAT_S = 2.0
#: A server that has not shown for so long that it lives has gone, seconds.
_DEAD_S = 10.0
#: A session from which nothing came for so long is empty, seconds.
_QUIET_S = 2.0
_PREFIX = "mqtt:"


class Sharing:
    """This server's part of the telemetry. A context: it takes part inside the block."""

    def __init__(self, fleet: Fleet, address: BrokerAddress) -> None:
        self._fleet, self._address = fleet, address
        base = address.username or f"edgelift-host-{fleet.site.config.name}"
        self.name = f"{base}-{secrets.token_hex(6)}"
        self._client = make_client(address, self.name)
        self._reception = _reception(fleet, self._client)
        self._client.on_connect = self._subscribe
        self._client.on_message = lambda client, _, message: self._reception.came(client, message)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sharing", daemon=True)
        self._seen: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> Sharing:
        begin(self._client, self._address)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # The session stays: whoever leads takes what may be left in it.
        end(self._client)
        self._thread.join(5)

    def _subscribe(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, props: Properties | None
    ) -> None:
        if reason.is_failure:
            log.warning("the broker refused to share telemetry: %s", reason)
            return
        if can_share(client, props):  # else the leader takes all of it
            client.subscribe([(shared_filter(), 1)])

    def _run(self) -> None:
        beat = 0
        while not self._stopping.is_set():
            beat += 1
            try:
                with self._fleet.db.write(ROWS) as session:
                    session.merge(ControlRow(name=_PREFIX + self.name, value=str(beat)))
                if self._fleet.lead.leads:
                    for name in self._gone():
                        self._inherit(name)
            except EdgeliftError as error:
                log.warning("the servers that share telemetry were not looked at: %s", error.message)
            self._stopping.wait(_BEAT_S)

    def _gone(self) -> list[str]:
        """The servers that have not beaten for too long, by this server's own clock."""
        now = time.monotonic()
        with self._fleet.db.read() as session:
            found = dict(session.execute(sa.select(ControlRow.name, ControlRow.value)).tuples().all())
        beats = {name: value for name, value in found.items() if name.startswith(_PREFIX)}
        self._seen = {
            name: self._seen[name] if self._seen.get(name, ("", 0.0))[0] == value else (value, now)
            for name, value in beats.items()
        }
        own = _PREFIX + self.name
        return [name for name, (_, since) in self._seen.items() if now - since > _DEAD_S and name != own]

    def _inherit(self, name: str) -> None:
        """Take what waits in the session of a server that is gone, and end it."""
        with _Heir(self._fleet, self._address, name.removeprefix(_PREFIX)) as heir:
            while not heir.is_done():
                if self._stopping.wait(0.1) or not self._fleet.lead.leads:
                    return
            heir.forget()
        with self._fleet.db.write(ROWS) as session:
            session.execute(sa.delete(ControlRow).where(ControlRow.name == name))
        log.info("took over what waited for another server name=%s messages=%d", name, heir.taken)


@dataclass
class _Life:
    connected: bool = False
    had_session: bool = True
    last_at: float = 0.0


class _Heir:
    """A server's client, gone on with by another one."""

    def __init__(self, fleet: Fleet, address: BrokerAddress, name: str) -> None:
        self._address, self._life, self._over = address, _Life(), False
        self.taken = 0
        self._client = make_client(address, name)
        self._reception = _reception(fleet, self._client)
        self._client.on_connect, self._client.on_message = self._connected, self._came

    def __enter__(self) -> _Heir:
        begin(self._client, self._address)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._over:
            end(self._client)

    def is_done(self) -> bool:
        """Has everything come that waited, and is it stored?"""
        life = self._life
        if not life.connected or self._reception.waiting:
            return False
        return not life.had_session or time.monotonic() - life.last_at > _QUIET_S

    def forget(self) -> None:
        """End the session."""
        self._over = True
        end(self._client, forget=True)

    def _connected(
        self, client: paho.Client, _data: object, flags: paho.ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            return
        # Nothing more is to be put into it.
        client.unsubscribe(shared_filter())
        self._life = _Life(True, flags.session_present, time.monotonic())

    def _came(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._life.last_at = time.monotonic()
        self.taken += 1
        self._reception.came(client, message)


def shared_filter() -> str:
    """The subscription of which each message goes to one server."""
    return f"$share/{GROUP}/{routes.telemetry_filter()}"


def _reception(fleet: Fleet, client: paho.Client) -> Reception:
    # What a flooding device sends beyond its bound comes again with a new connection.
    def reconnect() -> None:
        with suppress(OSError):  # paho's own thread tries again
            client.reconnect()

    def on_room() -> None:
        threading.Thread(target=reconnect, name="sharing-anew", daemon=True).start()  # the inbox must not wait

    return Reception(fleet.inbox, on_flood=lambda _: None, on_room=on_room)
