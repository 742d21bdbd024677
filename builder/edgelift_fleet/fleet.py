"""All parts of one control plane, wired together but for the network: the composition root below `server`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from edgelift_contract.enrol import BrokerAccess
from edgelift_fleet.alerts.site_alerts import Alerts
from edgelift_fleet.assignments import Assignments
from edgelift_fleet.changes import Changes
from edgelift_fleet.db import Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.identity.identities import Identities
from edgelift_fleet.inbox import Inbox
from edgelift_fleet.intake import Intake
from edgelift_fleet.lead import Lead
from edgelift_fleet.mending import Mending
from edgelift_fleet.messages import Load
from edgelift_fleet.needs import TroubleWatch
from edgelift_fleet.otlp_settings import sent_here
from edgelift_fleet.parked import Parked
from edgelift_fleet.people.directory import People
from edgelift_fleet.publishing import Publishing
from edgelift_fleet.remote_blobs import open_blobs
from edgelift_fleet.restored import Staying
from edgelift_fleet.revisions import Revisions
from edgelift_fleet.rollout.orders import Rollouts
from edgelift_fleet.scrub import damaged_blobs
from edgelift_fleet.site import Site
from edgelift_fleet.telemetry.cohorts import AskedCohorts
from edgelift_fleet.trust.going_back import may_go_back_to
from edgelift_fleet.trust.handing import Handing
from edgelift_fleet.trust.online import online_signer
from edgelift_fleet.trust.sealing import Sealing
from edgelift_fleet.trust.store import first_roots, has_trust
from edgelift_fleet.trust.watching import Watching
from edgelift_fleet.wanted_bundles import WantedBundles


class BrokerAccessOf(Protocol):
    """Gives a device its access to the broker."""

    def __call__(self, device: str, reached_by: str, /, *, certified: bool = False) -> BrokerAccess | None:
        """Its access; None where there is none.

        Args:
            device: its id.
            reached_by: name by which it reached this server.
            certified: it has a certificate.
        """


def _no_broker(_device: str, _reached_by: str, /, *, certified: bool = False) -> None:  # noqa: ARG001 - nobody has one
    return None


class Fleet:
    """A site that is open.

    Attributes:
        lead: whether this server is the one that acts.
        troubles: what needs a person now.
        asked: which tags' latency costs much to sum, and is wanted.
        work: set whenever the rollout controller may have something to do.
        staying: devices that keep what they run, on a site that was restored.
        broker_access: gives a device its access to the broker.
        signed: watches over what is signed.
        secure: devices have certificates, and no token that they share counts.
        identities: who the devices are.
        people: who operators are, and what they did.
        alerts: what is wrong, and who is told of it.
        sealing: signs what a broker retains.
        url: where devices call this server.
        load: how much the server carries just now.
        broker_state: `connected`, `disconnected` or `none`.
    """

    def __init__(self, site: Site, db: Database, *, secure: bool | None = None) -> None:
        """Bind; `secure` says whether only certificates count, in the site's own word's place."""
        self.site, self.db = site, db
        self.secure = site.config.tls if secure is None else secure
        self.started_at = time.time()
        self.work = threading.Event()
        self.lead = Lead(db)
        self.identities = Identities(site, db)
        self.people = People(db)
        self._handing: Handing | None = None
        self.signed = Watching(db, partial(online_signer, site))
        self.sealing = Sealing(db, lambda: self.handing)
        self.changes = Changes()
        self.seen = LastSeen()
        self.seen.sightings.shared = db.shared
        self.revisions = Revisions(db)
        self.parked = Parked()
        self.wanted_bundles = WantedBundles(db, site.config, leads=lambda: self.lead.leads)
        self.asked = AskedCohorts()
        self.troubles = TroubleWatch(site.config.alerts)
        self.blobs = open_blobs(site)
        self.publishing = Publishing(db, self.blobs)
        self.staying = Staying()
        self.intake = Intake(
            db, self.seen, on_report=self.work.set, on_raised=self.changes.announce, staying=self.staying,
            traces=sent_here(site.config.otlp).traces,
        )  # fmt: skip
        self.inbox = Inbox(self.intake.take)
        self.assignments = Assignments(db, self.changes)
        self.mending = Mending(db, self.changes.announce)
        self.rollouts = Rollouts(db, self.seen, wake=self.work.set, may_go_back=may_go_back_to)
        self.alerts = Alerts(site, db, self.lead, self.seen, lambda: self.signed.warnings)
        self.broker_access: BrokerAccessOf = _no_broker
        self.damaged: Callable[[], set[str]] = lambda: damaged_blobs(site.blobs)
        self.url = ""
        self.load: Callable[[], Load] = Load
        self.broker_state: Callable[[], str] = lambda: "none"
        # A direct assignment may take a device out of a rollout: have it looked at.
        self.changes.subscribe(lambda _device: self.work.set())
        self.changes.subscribe(self.revisions.announce)
        self.wanted_bundles.subscribe(self.parked.wake)
        self.revisions.subscribe(self.parked.wake)

    def roots(self) -> dict[str, str]:
        """Whom a device that enrols is to trust; empty where this site signs nothing."""
        with self.db.read() as session:
            return (
                {name: body.decode() for name, body in first_roots(session).items()} if has_trust(session) else {}
            )

    def hand(self, device: str, assignment: bytes, nonce: str) -> bytes | None:
        """What a device is given, signed; None where this site signs nothing. Raises as `Handing.hand`."""
        return self.handing.hand(device, assignment, nonce) if self.handing else None

    @property
    def handing(self) -> Handing | None:
        """Signs what devices are given; None where this site signs nothing.

        Raises:
            DeviceError: `bad-config`: the control plane's key is missing.
        """
        if self._handing is None:
            with self.db.read() as session:
                signs = has_trust(session)
            if signs:
                self._handing = Handing(self.db, self.blobs, partial(online_signer, self.site))
        return self._handing
