"""The server's process: an open site, uvicorn, the background work, and how they start and stop.

uvicorn runs in a thread and signals reach the main thread, so that the order of stopping is ours: first wake
the parked polls, then stop taking requests, then the background work, last the database. Five seconds in all.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from edgelift_contract.errors import DeviceError, EdgeliftError
from edgelift_contract.message_types import prepare_message_types
from edgelift_fleet.api.app import make_app
from edgelift_fleet.conditions import Forgetting
from edgelift_fleet.console.app import Console
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.descriptors import open_descriptors, places_for, raise_descriptors
from edgelift_fleet.devices import begin_listening
from edgelift_fleet.doors import Doors, Ports
from edgelift_fleet.exchange import exchange
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.garbage import collect_rarely
from edgelift_fleet.identity.files import own_names
from edgelift_fleet.identity.tls import ServerTls
from edgelift_fleet.messages import Load
from edgelift_fleet.mqtt.messaging import messaging
from edgelift_fleet.mqtt.mosquitto import find_mosquitto
from edgelift_fleet.otlp.configured import otlp_of
from edgelift_fleet.private import keep_private
from edgelift_fleet.rollout.controller import Controller
from edgelift_fleet.scrub import Scrub
from edgelift_fleet.server_file import Running, server_file, site_lock
from edgelift_fleet.service import started
from edgelift_fleet.site import Site
from edgelift_fleet.telemetry.keeper import Keeper
from edgelift_fleet.telemetry.retention import ages_of
from edgelift_fleet.telemetry.warming import Warming
from edgelift_fleet.tls_buffers import keep_tls_buffers_small

log = logging.getLogger(__name__)

_GRACE_S = 3
#: How long a server waits for the lead, seconds: longer than it takes until one that is gone has lost it.
_LEAD_S = 8.0
#: How long it waits for a command that has the site to itself, as publishing does while no server runs.
_COMMAND_S = 10.0
#: Connections that an HTTP server of ours has open at most; each takes some 15 KB.
MAX_CONNECTIONS = 16_384


def serve(
    site: Site, ports: Ports, *, broker: str, ready: Callable[[Running], None], insecure: bool = False
) -> None:
    """Serve the site until SIGTERM or SIGINT.

    Args:
        site: the site.
        ports: where to listen.
        broker: `auto`, `none` or `mqtt://…`; see `messaging`.
        ready: told once requests are answered.
        insecure: speak plain HTTP all the same: what operators and devices show can be read on the way.

    Raises:
        DeviceError: `port-in-use`, `bad-config`, `already-running`, `read-only` and the database's.
    """
    told = _signals()
    descriptors = raise_descriptors()
    with ExitStack() as stack:
        stack.enter_context(site_lock(site, wait_s=_COMMAND_S))
        keep_private(site)
        doors = stack.enter_context(Doors(ports))
        db = Database(site.database)
        stack.callback(db.close)
        prepare_message_types()  # before the first thread
        keep_tls_buffers_small()
        db.migrate()
        fleet = Fleet(site, db, secure=site.config.tls and not insecure)
        rounds = fleet.alerts.rounds()  # what is wrong with its receivers is told before anything listens
        sending = otlp_of(fleet)
        stack.enter_context(fleet.identities.known)
        tls = doors.secure(fleet)
        fleet.lead.subscribe(lambda leads: _listen(fleet) if leads else None)
        stack.enter_context(fleet.lead)
        _refuse_second(fleet, broker)
        stack.enter_context(fleet.revisions)
        stack.enter_context(fleet.wanted_bundles)
        stack.enter_context(fleet.inbox)
        stack.enter_context(_Housekeeper(fleet, tls))
        if site.blobs.is_dir():
            stack.enter_context(Scrub(site.blobs, site.run / "scrub.json"))
        stack.enter_context(_keeper(fleet))
        words = stack.enter_context(messaging(fleet, broker, host=ports.host, port=ports.mqtt, tls=tls))
        stack.enter_context(Controller(fleet.lead, fleet.db, fleet.seen, fleet.changes, fleet.work))
        places = places_for(descriptors, MAX_CONNECTIONS)
        stack.enter_context(doors.open(make_app(fleet, Console), places=places, grace_s=_GRACE_S, tls=tls))
        fleet.url = doors.outside(own_names(ports.host, site.config.names))
        fleet.alerts.url = fleet.url
        stack.enter_context(rounds)
        stack.enter_context(sending)
        fleet.identities.known.subscribe(doors.end)
        if tls is not None:
            tls.watch(lambda: doors.end(None))  # they come again, if they still may
        stack.callback(fleet.parked.close)
        fleet.load = lambda: _load(fleet, doors, descriptors)
        running = Running(doors.url, os.getpid(), words, db.name, doors.tls_url)
        stack.enter_context(server_file(site, running))
        collect_rarely()
        ready(running)
        stack.enter_context(started(f"{running.url}, broker {running.broker}"))
        os.read(told, 1)


def _keeper(fleet: Fleet) -> Keeper:
    db, write, ages = fleet.db, fleet.lead.write, ages_of(fleet.site.config)
    warming = Warming(db.read, write, db.write, ages, fleet.asked)
    return Keeper(db.read, write, ages, active=lambda: fleet.lead.leads, warming=warming)


def _refuse_second(fleet: Fleet, broker: str) -> None:
    """Servers of one site share a broker: with one of its own, a server must be the only one."""
    if broker != "auto" or find_mosquitto() is None or fleet.lead.wait(_LEAD_S):
        return
    raise DeviceError(
        "already-running",
        f"On the database {fleet.db.name} another server leads: {fleet.lead.holder() or 'its name is not known yet'}.",
        hint="Stop it first; or give all servers of the site the same --broker, or none.",
    )


def _signals() -> int:
    """Where a byte comes for each SIGTERM and SIGINT, whichever thread the system gives it to: a lock would not wake."""
    told, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return told


def _load(fleet: Fleet, doors: Doors, descriptors: int) -> Load:
    return Load(
        connections=len(doors), connections_limit=doors.places, parked_polls=len(fleet.parked),
        waiting_messages=len(fleet.inbox), descriptors=open_descriptors(), descriptors_limit=descriptors,
    )  # fmt: skip


def _listen(fleet: Fleet) -> None:
    with fleet.lead.write(SITE) as session:
        begin_listening(session, fleet.seen, time.time())


class _Housekeeper:
    """Writes down when devices were seen, watches over what is signed, and forgets answers that nobody asks for again."""

    def __init__(self, fleet: Fleet, tls: ServerTls | None) -> None:
        self._fleet, self._tls = fleet, tls
        self._forgetting = Forgetting(fleet.db)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def __enter__(self) -> None:
        self._fleet.signed.look(time.time())
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2)
        self._flush()

    def _run(self) -> None:
        while not self._stopping.wait(self._fleet.site.config.seen_flush_s):
            self._flush()
            self._forget()
            self._fleet.signed.look(time.time())
            self._renew()

    def _renew(self) -> None:
        try:
            if self._tls is not None:
                self._tls.renew()
        except (EdgeliftError, OSError) as error:
            log.warning("the server's certificate was not renewed: %s", error)

    def _forget(self) -> None:
        try:
            self._forgetting.look(time.time())
        except EdgeliftError as error:
            log.warning("old answers were not forgotten code=%s %s", error.code, error.message)

    def _flush(self) -> None:
        try:
            self._fleet.seen.flush(self._fleet.db)
            if self._fleet.db.shared:
                exchange(self._fleet.db, self._fleet.seen.sightings)
        except EdgeliftError as error:
            log.warning("the last-seen times were not written code=%s %s", error.code, error.message)
