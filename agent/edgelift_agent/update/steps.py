"""What each state of an update does: calls ports, changes nothing in the journal, returns what came of it.

Steps may take long (a slow link, a large model) and run on threads of their own, so that one slot's download
never delays another slot's verdict. A step that fails raises an `EdgeliftError`; whoever drives the machine
(`updates`) turns it into FAILED, and a `TransportError` while fetching into another try.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from edgelift_agent.artifact.fetch import Fetcher
from edgelift_agent.artifact.loading import Loader
from edgelift_agent.artifact.preflight import Preflight
from edgelift_agent.artifact.store import Store
from edgelift_agent.ports import BlobSource
from edgelift_agent.serving.reaper import Reaper
from edgelift_agent.serving.slots import Generation, Slots, key_of
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.memory import resident_bytes, return_memory
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_agent.update.journal import SlotRow, UpdateRow
from edgelift_contract import rules
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.histogram import Histogram
from edgelift_contract.report import DeviceFacts

log = logging.getLogger(__name__)

#: Two generations must fit with this much to spare, as a factor on the measured peak.
MEMORY_MARGIN = 1.2


@dataclass
class Live:
    """What one slot's update holds in memory between steps, gone after a restart.

    Attributes:
        standby: the old generation, kept loaded while probation may want it back.
        swapped_at: monotonic time of the swap, seconds; None before it.
        retired_at, gone_at: when the old generation was given to the reaper, and when it was gone.
        cancelled: asks the fetch under way to give up.
    """

    standby: Generation | None = None
    swapped_at: float | None = None
    retired_at: float | None = None
    gone_at: float | None = None
    cancelled: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True)
class Done:
    """A step went well. `record` holds swap record fields it learned, `fetched_bytes` what came over the link."""

    record: dict[str, Any] = field(default_factory=dict)
    fetched_bytes: int = 0


class Steps:
    """The steps, bound to the device's parts."""

    def __init__(
        self,
        *,
        store: Store,
        source: BlobSource,
        loader: Loader,
        preflight: Preflight,
        slots: Slots,
        reaper: Reaper,
        recorder: LatencyRecorder,
        facts: Callable[[], DeviceFacts],
        clock: Clock,
        reserve_bytes: int,
        memory_bytes: int = 0,
    ) -> None:
        self.store, self.slots, self.reaper, self.recorder = store, slots, reaper, recorder
        self._source, self._loader, self._preflight = source, loader, preflight
        self._facts, self._clock, self._reserve_bytes = facts, clock, reserve_bytes
        self._memory_bytes = memory_bytes

    def fetch(self, _slot: str, update: UpdateRow, live: Live) -> Done:
        """FETCHING: bring the manifest, refuse early what can't run here, bring the missing files."""
        desired = update.desired
        fetcher = Fetcher(self._source, self.store, reserve_bytes=self._reserve_bytes)
        started = time.perf_counter()
        manifest = fetcher.manifest(desired.artifact, desired.manifest_bytes, live.cancelled)
        rules.admit(manifest, self._facts(), floor=0, allow_older=True)
        fetcher.files(manifest, live.cancelled)
        return Done({"fetch_ms": _ms(started)}, fetcher.fetched_bytes)

    def verify(self, _slot: str, update: UpdateRow, floors: dict[str, int]) -> Done:
        """VERIFYING: hash everything, and judge whether this device may install it."""
        desired = update.desired
        started = time.perf_counter()
        manifest = self.store.verify(desired.artifact)
        if (manifest.model, manifest.version) != (desired.model, desired.version):
            raise ContractError(
                "malformed",
                f"The assignment says {desired.model}@{desired.version}, the manifest"
                f" {manifest.model}@{manifest.version}.",
            )
        floor = floors.get(manifest.model, 0)
        rules.admit(manifest, self._facts(), floor=floor, allow_older=desired.policy.allow_older)
        return Done({"verify_ms": _ms(started)})

    def stage(self, _slot: str, update: UpdateRow) -> Done:
        """STAGING: give the blobs the names that the runtime expects."""
        self.store.stage(update.desired.artifact, self.store.manifest(update.desired.artifact))
        return Done()

    def preflight(self, slot: str, update: UpdateRow) -> Done:
        """PREFLIGHT: prove the candidate in a child process; its measured peak chooses the swap mode."""
        artifact = update.desired.artifact
        started = time.perf_counter()
        result = self._preflight.run(self.store.folder(artifact), self.store.manifest(artifact))
        latency = Histogram.from_data(result.latency_us)
        free = self._memory_bytes or psutil.virtual_memory().available
        place = self.slots.get(slot)
        fits = result.peak_bytes * MEMORY_MARGIN <= free or place is None or place.current is None
        return Done(
            {
                "preflight_ms": _ms(started),
                "golden_max_error": result.golden_max_error,
                "preflight_p50_us": latency.quantile(0.5),
                "preflight_p95_us": latency.quantile(0.95),
                "preflight_peak_bytes": result.peak_bytes,
                "mode": "parallel" if fits else "park",
            }
        )

    def swap(self, slot: str, update: UpdateRow, row: SlotRow, live: Live) -> Done:
        """SWAPPING: load the candidate and put it in the old one's place, by the mode that fits."""
        if live.swapped_at is not None:
            return Done()  # it is in place; only the journal could not be written then
        if not self.reaper.wait_idle(update.desired.policy.drain_timeout_s):
            raise DeviceError(
                "drain-timeout", f"An old generation of {slot} still answers requests; two are the most."
            )
        place = self.slots.make(slot)
        before = resident_bytes()
        mode = update.record.mode if update.record else "parallel"
        old = place.current
        learned: dict[str, Any] = {"rss_before_bytes": before, "generation_from": old.number if old else 0}
        if old is not None:
            learned |= _served_before(self.recorder, old)
        if mode == "park" and old is not None:
            old = None
            learned |= self._park(slot, update)
        try:
            loaded = self._loader.load(update.desired.artifact)
        except BaseException:
            if mode == "park":
                self._unpark(slot, row)
            raise
        key = key_of(slot, row.generation, update.desired.artifact, loaded.manifest)
        generation = Generation(key, loaded.manifest, loaded.model, self._clock.now())
        self.recorder.in_probation.add(key)
        drained = old.leases if old else 0
        _, held_us = place.swap(generation)
        live.standby, live.swapped_at = old, self._clock.monotonic()
        return Done(
            learned
            | {
                "at": self._clock.now(),
                "generation_to": row.generation,
                "load_ms": loaded.load_ms,
                "warm_ms": loaded.warm_ms,
                "golden_max_error": loaded.golden_max_error,
                "commit_us": held_us,
                "drained": drained,
                "parked": place.parked_requests if mode == "park" else 0,
                "dropped": place.turned_away if mode == "park" else 0,
                "park_max_ms": place.park_max_s * 1000 if mode == "park" else 0.0,
                "rss_peak_bytes": resident_bytes(),
            }
        )

    def _park(self, slot: str, update: UpdateRow) -> dict[str, Any]:
        """Let requests wait, and the old generation go before the new one comes."""
        place = self.slots.make(slot)
        started = time.perf_counter()
        old = place.park()
        if old is None:
            return {}
        if not place.drain(old, update.desired.policy.drain_timeout_s):
            place.swap(old)
            raise DeviceError(
                "drain-timeout", f"Requests on {slot} did not end in time; its model was left in place."
            )
        drain_ms = _ms(started)
        old.model.close()
        return_memory()
        return {"drain_ms": drain_ms}

    def _unpark(self, slot: str, row: SlotRow) -> None:
        """Bring the committed model back for the requests that wait; without one, let them fail now."""
        place = self.slots.make(slot)
        if not place.parked:
            return
        generation = None
        try:
            if row.artifact:
                loaded = self._loader.load(row.artifact)
                key = key_of(slot, row.serving, row.artifact, loaded.manifest)
                generation = Generation(key, loaded.manifest, loaded.model, self._clock.now())
        finally:
            place.swap(generation)

    def roll_back(self, slot: str, row: SlotRow, live: Live) -> Done:
        """ROLLING_BACK: the committed artifact serves again, as a generation of its own number.

        Swaps only if something else serves now; after a restart the committed one is in place already.
        """
        place = self.slots.make(slot)
        current = place.current
        if current is not None and current.key.artifact == row.artifact:
            return Done()
        standby, live.standby = live.standby, None
        if standby is not None:
            key = key_of(slot, row.generation, standby.key.artifact, standby.manifest)
            back: Generation | None = Generation(key, standby.manifest, standby.model, self._clock.now())
            # The same loaded model under a new number: requests still on the old lease keep it alive anyway.
        elif row.artifact:
            loaded = self._loader.load(row.artifact)
            key = key_of(slot, row.generation, row.artifact, loaded.manifest)
            back = Generation(key, loaded.manifest, loaded.model, self._clock.now())
        else:
            back = None
        failed, _ = place.swap(back)
        if failed is not None:
            self.recorder.in_probation.discard(failed.key)
            self.reaper.retire(place, failed, 30.0)
        return Done()

    def restore(self, slot: str, row: SlotRow) -> None:
        """At start: verify the committed artifact and serve it.

        Raises:
            ContractError, DeviceError: it can't serve.
        """
        self.store.stage(row.artifact, self.store.verify(row.artifact))
        loaded = self._loader.load(row.artifact)
        key = key_of(slot, row.serving, row.artifact, loaded.manifest)
        self.slots.make(slot).swap(Generation(key, loaded.manifest, loaded.model, self._clock.now()))

    def collect(self, keep: set[str]) -> None:
        """Delete all artifacts but `keep`; a disk that refuses is logged, for nothing depends on it."""
        try:
            self.store.collect(keep)
        except DeviceError as error:
            log.warning("cleaning up failed code=%s %s", error.code, error.message)


def _served_before(recorder: LatencyRecorder, generation: Generation) -> dict[str, Any]:
    served = recorder.served(generation.key)
    merged, throttled = Histogram(), 0
    for state, histogram in served.total_us.items():
        merged.merge(histogram)
        throttled += histogram.count if state else 0
    if not merged.count:
        return {}
    return {"before_us": merged.to_data(), "before_throttled": throttled / merged.count}


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
