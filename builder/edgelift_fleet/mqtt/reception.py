"""What devices publish, on its way into the inbox; acknowledged only once it is stored.

A broker takes whatever its clients send and hands it on in the order in which it came: nothing slows a board down but the
host's own bounds. So what one device has waiting here is bounded; what comes beyond is neither taken nor acknowledged, the
device is named as flooding (its broker may shut it out for a while: what it sends then stays on the device), and once
its own messages are stored, the broker is asked for the rest by a new connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, Protocol

import paho.mqtt.client as paho

from edgelift_contract import routes
from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.inbox import Inbox, Outcome
from edgelift_fleet.intake import Message

log = logging.getLogger(__name__)

#: What one device may have waiting: messages, and bytes. A board that was away for weeks sends some dozen batches of
#: half a megabyte, one after the other.
MOST_WAITING = 2000
MOST_WAITING_BYTES = 48 << 20

#: How long a message waits that the database could not take, seconds.
_AGAIN_S = 0.5

_KINDS: dict[str, Literal["report", "telemetry", "presence"]] = {
    "up/reported": "report", "up/telemetry": "telemetry", "up/state": "presence",
}  # fmt: skip


class Admits(Protocol):
    """Is what comes from a device taken?"""

    def __call__(self, device: str, *, retained: bool) -> bool:
        """Is it? `retained` says that the broker kept the message from before."""


class Reception:
    """Takes messages from a broker's client. Safe to use from several threads."""

    def __init__(
        self, inbox: Inbox[Message], *, on_flood: Callable[[str], None], on_room: Callable[[], None],
        admits: Admits | None = None,
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            inbox: where to.
            on_flood: told of a device that has too much waiting, once each time.
            on_room: called when messages that were not taken could be: the broker is to hand them out again.
            admits: asked of each message; a report or telemetry that is not admitted is dropped. None admits all.
        """
        self._inbox, self._on_flood, self._on_room, self._admits = inbox, on_flood, on_room, admits
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[int, int]] = {}
        self._flooding: set[str] = set()
        self._later: list[Callable[[], None]] = []

    @property
    def waiting(self) -> int:
        """Messages that were taken and are not acknowledged yet."""
        with self._lock:
            return sum(number for number, _ in self._waiting.values())

    def came(self, client: paho.Client, message: paho.MQTTMessage) -> None:
        """A message came over the client's connection."""
        device, rest = routes.split_topic(message.topic) or ("", "")
        kind, data = _KINDS.get(rest), bytes(message.payload)
        topic, number, qos = message.topic, message.mid, message.qos
        if kind is None or not data:  # or a retained message that someone cleared
            client.ack(number, qos)
            return
        admitted = self._admits is None or self._admits(device, retained=message.retain)
        if not admitted and kind != "presence":  # that it has gone is the broker's own word, under its name
            client.ack(number, qos)
            return
        if not self._make_room(device, len(data)):
            return

        def put() -> None:
            try:
                self._inbox.put(device, Message(kind, device, data, "mqtt"), len(data), done)
            except EdgeliftError:
                pass  # the server stops: the broker hands it out again

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, EdgeliftError) and outcome.code == "busy":
                self._put_later(put)
                return
            if is_over(topic, outcome):
                client.ack(number, qos)
            self._leave(device, len(data))

        put()

    def _put_later(self, put: Callable[[], None]) -> None:
        """The database is away or locked: the broker would hand the message out again only at the next connect."""
        with self._lock:
            self._later.append(put)
            if len(self._later) > 1:
                return  # the timer runs
        timer = threading.Timer(_AGAIN_S, self._put_all)
        timer.daemon = True
        timer.start()

    def _put_all(self) -> None:
        with self._lock:
            later, self._later = self._later, []
        for put in later:
            put()

    def _make_room(self, device: str, size_bytes: int) -> bool:
        with self._lock:
            number, size = self._waiting.get(device, (0, 0))
            if number < MOST_WAITING and size + size_bytes <= MOST_WAITING_BYTES and device not in self._flooding:
                self._waiting[device] = (number + 1, size + size_bytes)
                return True
            new = device not in self._flooding
            self._flooding.add(device)
        if new:
            log.warning(
                "flooded device=%s messages=%d bytes=%d wait; no more is taken for now", device, number, size
            )
            self._on_flood(device)
        return False

    def _leave(self, device: str, size_bytes: int) -> None:
        with self._lock:
            number, size = self._waiting[device]
            if number > 1:
                self._waiting[device] = (number - 1, size - size_bytes)
                return
            del self._waiting[device]
            if device not in self._flooding:
                return
            self._flooding.discard(device)
        self._on_room()


def is_over(topic: str, outcome: Outcome) -> bool:
    """Is there nothing to be done any more about a message of which this became?"""
    if not isinstance(outcome, Exception):
        return True
    if not isinstance(outcome, EdgeliftError):
        log.error("a fault while a message was stored topic=%s", topic, exc_info=outcome)
        return False
    log.warning("dropped topic=%s code=%s %s", topic, outcome.code, outcome.message)
    # A message that is wrong stays wrong: acknowledged and dropped, or it would come again for ever. What is our own
    # fault is handed out again at the next connect.
    return outcome.code not in ("disk-full", "disk-error", "read-only")
