"""What serves in each slot, and how it is exchanged: swap, swap back, restore, empty.

The only place of the updater that knows slots, leases, the reaper and the latency recorder. It changes nothing in
the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from edgelift_agent.artifact.loading import Loaded, Loader
from edgelift_agent.artifact.store import Store
from edgelift_agent.serving.reaper import Reaper
from edgelift_agent.serving.slots import Generation, Slot, Slots, make_generation
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.memory import resident_bytes, return_memory
from edgelift_agent.telemetry.latency import LatencyRecorder
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import DeviceError
from edgelift_contract.histogram import Histogram
from edgelift_contract.probation import Served
from edgelift_contract.telemetry import SwapRecord

#: How long requests on a generation that no update's policy speaks for may take to end, seconds.
DRAIN_TIMEOUT_S = Policy().drain_timeout_s


@dataclass
class InFlight:
    """What one slot's update holds in memory between steps, gone after a restart.

    Attributes:
        standby: the old generation, kept loaded while probation may want it back.
        before: what the old generation had served when it was taken out in `park` mode; None elsewhere.
        swapped_at: monotonic time of the swap, seconds; None before it.
        retired_at, gone_at: when the old generation was given to the reaper, and when it was gone.
        cancelled: asks the fetch under way to give up.
    """

    standby: Generation | None = None
    before: Served | None = None
    swapped_at: float | None = None
    retired_at: float | None = None
    gone_at: float | None = None
    cancelled: Callable[[], bool] = field(default=lambda: False)


class Exchange:
    """Puts generations in place and takes them out."""

    def __init__(
        self, store: Store, loader: Loader, slots: Slots, reaper: Reaper, recorder: LatencyRecorder, clock: Clock
    ) -> None:
        self._store, self._loader, self._slots = store, loader, slots
        self._reaper, self._recorder, self._clock = reaper, recorder, clock

    def current(self, name: str) -> Generation | None:
        """What serves in a slot; None for nothing."""
        slot = self._slots.get(name)
        return slot.current if slot else None

    def served(self, generation: Generation) -> Served:
        """What a living generation served."""
        return self._recorder.served(generation.key)

    def swap(self, name: str, update: UpdateRow, row: SlotRow, in_flight: InFlight) -> SwapRecord | None:
        """SWAPPING: load the candidate and put it in the old one's place, by the mode that fits.

        Returns:
            The swap record with what was learned; None when it is in place already and only the journal could
            not be written then.

        Raises:
            ContractError, DeviceError: it was not put in place; what served before serves.
        """
        if in_flight.swapped_at is not None or update.record is None:
            return None
        if not self._reaper.wait_idle(update.desired.policy.drain_timeout_s):
            raise DeviceError(
                "drain-timeout", f"An old generation of {name} still answers requests; two are the most."
            )
        slot, old = self._slots.make(name), self.current(name)
        before = resident_bytes()
        record = msgspec.structs.replace(
            update.record, rss_before_bytes=before, generation_from=old.number if old else 0
        )
        if old is not None:
            in_flight.before = self.served(old)
            record = note_before(record, in_flight.before)
        parks = record.mode == "park" and old is not None
        if parks:
            old, record = None, self._park(slot, record, update.desired.policy.drain_timeout_s)
        try:
            loaded = self._loader.load(update.desired.artifact)
        except BaseException:
            if parks:
                self._unpark(slot, row)
            raise
        generation = self._generation(name, row.generation, update.desired.artifact, loaded)
        self._recorder.in_probation.add(generation.key)
        drained = old.leases if old else 0
        _, held_us = slot.swap(generation, standby=old)
        in_flight.standby, in_flight.swapped_at = old, self._clock.monotonic()
        return msgspec.structs.replace(
            record,
            at=self._clock.now(),
            generation_to=row.generation,
            load_ms=loaded.load_ms,
            warm_ms=loaded.warm_ms,
            golden_max_error=loaded.golden_max_error,
            commit_us=held_us,
            drained=drained,
            parked=slot.parked_requests if parks else 0,
            dropped=slot.turned_away if parks else 0,
            park_max_ms=slot.park_max_s * 1000 if parks else 0.0,
            rss_peak_bytes=resident_bytes(),
        )

    def _generation(self, name: str, number: int, artifact: str, loaded: Loaded | Generation) -> Generation:
        return make_generation(name, number, artifact, loaded.manifest, loaded.model, self._clock.now())

    def _park(self, slot: Slot, record: SwapRecord, timeout_s: float) -> SwapRecord:
        """Let requests wait, and the old generation go before the new one comes."""
        started = time.perf_counter()
        old = slot.park()
        if old is None:
            return record
        if not slot.drain(old, timeout_s):
            slot.swap(old)
            raise DeviceError(
                "drain-timeout", f"Requests on {slot.name} did not end in time; its model was left in place."
            )
        drain_ms = (time.perf_counter() - started) * 1000
        old.model.close()
        return_memory()
        return msgspec.structs.replace(record, drain_ms=drain_ms)

    def _unpark(self, slot: Slot, row: SlotRow) -> None:
        """Bring the committed model back for the requests that wait; without one, let them fail now."""
        if not slot.parked:
            return
        generation = None
        try:
            if row.artifact:
                loaded = self._loader.load(row.artifact)
                generation = self._generation(slot.name, row.serving, row.artifact, loaded)
        finally:
            slot.swap(generation)

    def roll_back(self, name: str, row: SlotRow, in_flight: InFlight, timeout_s: float) -> None:
        """ROLLING_BACK: the committed artifact serves again, as a generation of its own number.

        Swaps only if something else serves now; after a restart the committed one is in place already.

        Raises:
            ContractError, DeviceError: the committed artifact can't be loaded.
        """
        slot, current = self._slots.make(name), self.current(name)
        if in_flight.standby is None and current is not None and current.key.artifact == row.artifact:
            self._recorder.in_probation.discard(current.key)
            return
        standby, in_flight.standby = in_flight.standby, None
        back: Generation | None = None
        if standby is not None:
            # The same loaded model under a new number: requests still on the old lease keep it alive anyway.
            back = self._generation(name, row.generation, standby.key.artifact, standby)
        elif row.artifact:
            back = self._generation(name, row.generation, row.artifact, self._loader.load(row.artifact))
        failed, _ = slot.swap(back)
        if failed is not None:
            self._recorder.in_probation.discard(failed.key)
            self._reaper.retire(slot, failed, timeout_s)

    def settle(self, name: str, in_flight: InFlight, timeout_s: float, on_gone: Callable[[bool], None]) -> None:
        """After a commit: probation is over and the old generation may go; `on_gone` as in `Reaper.retire`."""
        slot, current = self._slots.get(name), self.current(name)
        standby, in_flight.standby = in_flight.standby, None
        if slot is not None and standby is not None:
            in_flight.retired_at = self._clock.monotonic()
            slot.forget_standby()
            self._reaper.retire(slot, standby, timeout_s, on_gone)
            self._recorder.forget(standby.key)
        if current is not None:
            self._recorder.in_probation.discard(current.key)

    def restore(self, name: str, row: SlotRow) -> None:
        """Verify the committed artifact and serve it; what served before goes.

        Raises:
            ContractError, DeviceError: it can't serve; nothing was changed.
        """
        self._store.stage(row.artifact, self._store.verify(row.artifact))
        generation = self._generation(name, row.serving, row.artifact, self._loader.load(row.artifact))
        self._replace(self._slots.make(name), generation)

    def unload(self, name: str) -> None:
        """Take out what serves in a slot; the slot stays."""
        slot = self._slots.get(name)
        if slot is not None:
            self._replace(slot, None)

    def empty(self, name: str) -> None:
        """Take out what serves in a slot, and the slot."""
        current = self.current(name)
        self.unload(name)
        if current is not None:
            self._recorder.forget(current.key)
        self._slots.remove(name)

    def _replace(self, slot: Slot, generation: Generation | None) -> None:
        old, _ = slot.swap(generation)
        if old is not None:
            self._reaper.retire(slot, old, DRAIN_TIMEOUT_S)


def note_before(record: SwapRecord, served: Served) -> SwapRecord:
    """The record with the latency of the generation that goes, and the share of it that was throttled."""
    merged, throttled = _merge(served)
    if not merged.count:
        return record
    return msgspec.structs.replace(record, before_us=merged.to_data(), before_throttled=throttled)


def note_after(record: SwapRecord, served: Served) -> SwapRecord:
    """The record with the latency of the generation that came, and the share of it that was throttled."""
    merged, throttled = _merge(served)
    if not merged.count:
        return record
    return msgspec.structs.replace(record, after_us=merged.to_data(), after_throttled=throttled)


def _merge(served: Served) -> tuple[Histogram, float]:
    merged, throttled = Histogram(), 0
    for slowed, histogram in served.total_us.items():
        merged.merge(histogram)
        throttled += histogram.count if slowed else 0
    return merged, throttled / max(1, merged.count)
