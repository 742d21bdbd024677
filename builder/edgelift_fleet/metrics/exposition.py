"""The metrics as text: made when a scraper asks and kept for some seconds, so that several cost no more than one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.happened import ENDED, REFUSED
from edgelift_fleet.metrics.families import device_lines, server_families, stored_families
from edgelift_fleet.metrics.gather import Before, gather
from edgelift_fleet.metrics.lines import written
from edgelift_fleet.metrics.readings import DeviceReading, ServerReading, StoredReading

log = logging.getLogger(__name__)

#: For how long what was made is given again, seconds: less than any scraper's interval.
FRESH_S = 5.0
_END = b"# EOF\n"
OPENMETRICS = "application/openmetrics-text"


class FleetMetrics:
    """A site's metrics. Safe to use from several threads: whoever asks while they are made waits for them."""

    def __init__(self, fleet: Fleet, now: Callable[[], float] = time.monotonic) -> None:
        self._fleet, self._now = fleet, now
        self._lock, self._before = threading.Lock(), Before()
        self._devices: Sequence[DeviceReading] = ()
        self._made: dict[str, tuple[float, bytes, str]] = {}

    def expose(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its media type; `accept` is the scraper's header: only it asks for OpenMetrics."""
        wanted = f"{OPENMETRICS}; version=1.0.0" if OPENMETRICS in accept else ""
        with self._lock:
            at, body, kind = self._made.get(wanted, (0.0, b"", ""))
            if not kind or self._now() - at >= FRESH_S:
                encode, kind = choose_encoder(wanted)
                registry = CollectorRegistry()
                ProcessCollector(registry=registry)
                registry.register(self)
                body = encode(registry)
                # What ends OpenMetrics stands last; of devices there are too many series for `prometheus_client`.
                end = _END if body.endswith(_END) else b""
                body = body.removesuffix(end) + written(device_lines(self._devices)) + end
                self._made[wanted] = (self._now(), body, kind)
            return body, kind

    def families(self) -> Iterator[Metric]:
        """All of them as of now, those of devices too, for who takes no text."""
        with self._lock:
            yield from self.collect()
            yield from (lines.family() for lines in device_lines(self._devices))

    def describe(self) -> Iterator[Metric]:
        """What registering asks for: nothing is read for it."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families but for those of devices, read now; without the database's where that doesn't answer."""
        stored = self._stored()
        yield from server_families(self._server(), database_up=stored is not None)
        self._devices = stored.devices if stored is not None else ()
        if stored is not None:
            yield from stored_families(stored)

    def _stored(self) -> StoredReading | None:
        fleet = self._fleet
        try:
            with fleet.db.read() as session:
                asked = fleet.site.config
                return gather(session, fleet.seen, asked.metrics_devices, asked.alerts, time.time(), self._before)
        except EdgeliftError as error:
            log.warning("the metrics are without what the database says code=%s %s", error.code, error.message)
            return None

    def _server(self) -> ServerReading:
        fleet = self._fleet
        return ServerReading(
            broker=fleet.broker_state(), leads=fleet.lead.leads, load=fleet.load(),
            damaged_blobs=len(fleet.damaged()), warnings=len(fleet.signed.warnings),
            refused=REFUSED.counts(), ended=ENDED.counts(),
        )  # fmt: skip
