"""Which bundle is wanted of which device, in memory: polls are answered by it, and the broker told.

It is read from the database now and then, and at once when a wish was made here: another server of the site may have
made one. A fleet of which nothing is wanted costs one small question a look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.bundles import WAITING, sweep
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.site import SiteConfig
from edgelift_fleet.tables import BundleRow

log = logging.getLogger(__name__)

#: How often it is read: seconds after which another server's wish is known here.
LOOK_EVERY_S = 2.0
#: How often what is too old or too much is thrown away; what has expired is ended at the look that sees it, seconds.
SWEEP_EVERY_S = 600.0

#: Device → bundle, for what is new.
Wanted = Mapping[str, str]


class WantedBundles:
    """The wishes that are open. A context: kept up to date inside the block. Safe to use from several threads."""

    def __init__(self, db: Database, config: SiteConfig, *, leads: Callable[[], bool]) -> None:
        """Bind; `leads`: is this the server that throws away what is old?"""
        self._db, self._config, self._leads = db, config, leads
        self._wanted: dict[str, str] = {}
        self._listeners: list[Callable[[Wanted], None]] = []
        self._wake, self._stopping = threading.Event(), False
        self._swept_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="wanted-bundles", daemon=True)

    def __enter__(self) -> WantedBundles:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(3)

    def of(self, device: str) -> str:
        """The bundle that is wanted of a device; empty for none."""
        return self._wanted.get(device, "")

    def subscribe(self, listener: Callable[[Wanted], None]) -> None:
        """Have `listener({device: bundle})` called with what is newly wanted, from the thread here; it must not block."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """A wish was made or ended here, and is committed. From any thread; returns at once."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._look()
            except EdgeliftError as error:
                log.warning("wishes for bundles were not read code=%s %s", error.code, error.message)
            except Exception:
                log.exception("a fault while reading wishes for bundles")
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()

    def _look(self) -> None:
        now = time.time()
        query = sa.select(BundleRow.device, BundleRow.id, BundleRow.expires_at).filter_by(state=WAITING)
        with self._db.read() as session:
            rows = session.execute(query).all()
        found = {device: bundle for device, bundle, expires_at in rows if expires_at > now}
        new = {device: bundle for device, bundle in found.items() if self._wanted.get(device) != bundle}
        self._wanted = found
        if new:
            for listener in self._listeners:
                listener(new)
        due = time.monotonic() - self._swept_at > SWEEP_EVERY_S
        if self._leads() and (due or len(found) < len(rows)):
            self._swept_at = time.monotonic()
            with self._db.write(SITE) as session:
                sweep(session, self._config, now)
