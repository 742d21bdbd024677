"""Assignments out: retained messages, so many at once and no more, each told as soon as it is written.

What a broker retains is asked for at every connect, and only what differs is published: a broker that was merely out of
reach gets nothing twice, and a fleet isn't woken for nothing. What it retains for a device of which nothing is assigned (it
outlived a site that was restored from a backup) is taken away. Changes go first, whatever else there is to publish.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Protocol

import paho.mqtt.client as paho

from edgelift_contract import codec, routes
from edgelift_contract.bundle import BundleAsked
from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.revisions import Latest

log = logging.getLogger(__name__)

#: Messages that the broker has not confirmed yet.
WINDOW = 256
#: So many devices' assignments are signed in one go: what must be known of them is one question.
_AT_ONCE = 64
#: All that a broker retains has come when nothing more did for so long, seconds; what comes later is published twice.
_QUIET_S = 0.5
#: … and it is not waited for any longer than this.
_PATIENCE_S = 20.0
#: What couldn't be compared is tried again after so long, seconds.
_AGAIN_S = 2.0

ALL_DESIRED = f"{routes.ROOT}/+/down/desired"


#: Gives what is published in an assignment's place, of a device: its id, the assignment.
Seal = Callable[[str, bytes], bytes]


class Seals(Protocol):
    """What becomes of an assignment before it is published."""

    def sealing(self, devices: Collection[str]) -> Seal:
        """For these devices, of which all that must be known is asked for at once."""

    def standing(self, wanted: Mapping[str, bytes], retained: Mapping[str, bytes]) -> Collection[str]:
        """Devices for which what is retained says what is wanted."""


class Plain:
    """Nothing."""

    def sealing(self, devices: Collection[str]) -> Seal:  # noqa: ARG002 - it is the same for all
        """As it is."""
        return lambda _, body: body

    def standing(self, wanted: Mapping[str, bytes], retained: Mapping[str, bytes]) -> set[str]:
        """Those where it is the same."""
        return {device for device, body in wanted.items() if retained.get(device, b"") == body}


class Publisher:
    """Publishes over the client that is connected. A context: its thread runs inside the block."""

    def __init__(self, wanted: Callable[[], Mapping[str, Latest]], seals: Seals | None = None) -> None:
        """Bind.

        Args:
            wanted: device → what should be retained for it, for all devices.
            seals: signs what is published; None to publish it as it is.
        """
        self._wanted, self._seals = wanted, seals or Plain()
        self._some, self._closed = threading.Condition(), False
        self._client: paho.Client | None = None
        self._changes: dict[str, bytes] = {}
        self._differing: dict[str, bytes] = {}
        self._bells: dict[str, bytes] = {}
        self._under_way = 0
        self._comparing, self._asked_at, self._heard_at, self._not_before = False, 0.0, 0.0, 0.0
        self._retained: dict[str, bytes] = {}
        self._thread = threading.Thread(target=self._run, name="broker-publisher", daemon=True)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._some:
            self._closed = True
            self._some.notify()
        self._thread.join(3)

    def tell(self, news: Mapping[str, Latest]) -> None:
        """These devices have another assignment. From any thread; the last one told of a device is what it gets."""
        with self._some:
            if self._client is not None:
                self._changes.update({device: latest.body for device, latest in news.items() if latest.revision})
                for device in news:  # what was to be published of it is older
                    self._differing.pop(device, None)
                self._some.notify()

    def ring(self, wanted: Mapping[str, str]) -> None:
        """These devices are asked for these bundles: told once, not retained, for their polls say it too."""
        with self._some:
            if self._client is not None:
                self._bells.update({
                    device: codec.canonical_json(BundleAsked(schema=BundleAsked.SCHEMA, device=device, bundle=bundle))
                    for device, bundle in wanted.items()
                })  # fmt: skip
                self._some.notify()

    def connected(self, client: paho.Client) -> None:
        """The client's connection stands: ask what the broker retains, then publish what differs."""
        with self._some:
            if client is not self._client:
                self._under_way = 0  # else what was under way is sent again by the client itself
            self._client = client
            self._differing, self._retained = {}, {}
            self._comparing, self._asked_at = True, time.monotonic()
            self._heard_at = self._asked_at
            self._some.notify()
        client.subscribe(ALL_DESIRED, 0)

    def disconnected(self) -> None:
        """It stands no longer: what is to be published then is found anew."""
        with self._some:
            self._client, self._comparing = None, False
            self._changes, self._differing, self._retained, self._bells = {}, {}, {}, {}

    def retained(self, topic: str, body: bytes) -> None:
        """The broker retains this in an assignment's place."""
        device, _ = routes.split_topic(topic) or ("", "")
        with self._some:
            if self._comparing:
                self._retained[device] = body
                self._heard_at = time.monotonic()

    def confirmed(self) -> None:
        """The broker has one more."""
        with self._some:
            self._under_way = max(0, self._under_way - 1)
            self._some.notify()

    def _run(self) -> None:
        while True:
            self._compare()
            with self._some:
                if self._closed:
                    return
                if (found := self._next()) is None:
                    self._some.wait(0.1 if self._comparing else None)
                    continue
                client, bodies, retain = found
                self._under_way += len(bodies)
            seal = self._sealing([one for one, body in bodies.items() if body]) if retain else None
            for device, body in bodies.items():
                self._publish(client, device, body, seal)

    def _sealing(self, devices: Collection[str]) -> Seal:
        try:
            return self._seals.sealing(devices)
        except Exception:  # what can't be sealed is a bell: devices ask over HTTP then
            log.exception("a fault while sealing for %d devices", len(devices))
            return Plain().sealing(devices)

    def _publish(self, client: paho.Client, device: str, body: bytes, seal: Seal | None) -> None:
        topic = routes.bundle_topic(device) if seal is None else routes.desired_topic(device)
        try:
            sealed = seal(device, body) if seal is not None and body else body
            client.publish(topic, sealed, qos=1, retain=seal is not None)
        except Exception:
            log.exception("a fault while publishing on %s", topic)
            self.confirmed()

    def _next(self) -> tuple[paho.Client, dict[str, bytes], bool] | None:
        """What some devices are to be told next, and whether that is retained."""
        client, room = self._client, min(WINDOW - self._under_way, _AT_ONCE)
        if client is None or room <= 0:
            return None
        for queue in (self._changes, self._differing, self._bells):
            if queue:
                some = {device: queue.pop(device) for device in list(islice(queue, room))}
                return client, some, queue is not self._bells
        return None

    def _compare(self) -> None:
        """Find what differs, once all has come; not under the lock, for the database is asked, which may take its time."""
        with self._some:
            if not self._all_came(time.monotonic()):
                return
            client, retained = self._client, self._retained
        wanted = {device: latest.body for device, latest in self._wanted().items()}
        try:
            stands = self._seals.standing(wanted, retained)
        except EdgeliftError as error:  # as while the database is away: no reason to wake a whole fleet
            log.warning("what the broker retains is compared later code=%s %s", error.code, error.message)
            with self._some:
                self._not_before = time.monotonic() + _AGAIN_S
            return
        except Exception:  # then all are published
            log.exception("a fault while comparing what the broker retains")
            stands = ()
        with self._some:
            if client is None or self._retained is not retained:
                return  # connected anew meanwhile: it is asked anew
            self._differing = {
                device: body
                for device, body in wanted.items()
                if device not in stands and device not in self._changes
            }
            log.info("the broker retains %d assignments, %d are published", len(retained), len(self._differing))
            self._comparing, self._retained = False, {}
        client.unsubscribe(ALL_DESIRED)

    def _all_came(self, now: float) -> bool:
        if not self._comparing or now < self._not_before:
            return False
        return now - self._heard_at >= _QUIET_S or now - self._asked_at >= _PATIENCE_S
