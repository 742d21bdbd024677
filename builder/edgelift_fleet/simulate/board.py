"""One simulated board, without I/O: what it holds and serves, and the messages that it would send.

It keeps to the agent's rules: whole reports of growing numbers, telemetry that waits until it is confirmed, windows
that end at a swap, and an assignment as the wanted end.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from math import exp, log

import msgspec
import numpy as np

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.histogram import Histogram
from edgelift_contract.ids import Name
from edgelift_contract.probation import Served
from edgelift_contract.report import Presence, Report, SlotReport
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item, SwapRecord, Window
from edgelift_fleet.simulate.gauges import draw_gauges
from edgelift_fleet.simulate.noise import draw_latencies
from edgelift_fleet.simulate.profile import BoardClass, Profile, ReleaseFault
from edgelift_fleet.simulate.trusting import BoardTrust

#: Telemetry that waits for its confirmation; the oldest is forgotten beyond this, and counted.
MAX_WAITING = 20_000
_BATCH = 500


class BoardSlot:
    """One slot of a board: its report, and what its generation has served so far."""

    def __init__(self) -> None:
        self.report = SlotReport()
        self.level = 0.0  # log of the factors that last: of the board, and of each swap
        self.served = Served()
        self.since = 0.0
        self.error_rate = 0.0
        self.probation = False
        self.placebo = ""  # the newest occasion of a placebo swap that had its turn


class SimulatedBoard:
    """A board of a class; `index` and the fleet's seed decide everything that is drawn for it."""

    def __init__(self, name: str, kind: BoardClass, profile: Profile, *, seed: int, index: int) -> None:
        self.name, self.kind, self.profile = name, kind, profile
        self.rng = np.random.default_rng([seed, index])
        self.chance = self.rng.random(len(profile.faults))  # below a fault's share: it hits this board
        self.slots: dict[Name, BoardSlot] = {}
        self.revision = self.applied = self.generation = 0
        self.trust = BoardTrust()
        self.held = ""  # SHA-256 of the assignment of `revision`
        self.starts = self.connects = self.sequence = self.seq = 0
        self.epoch = ""
        self.waiting: deque[Item] = deque()
        self.dropped = 0
        self.throttled = 1.0  # factor of latency; 1: not throttled
        self._own = float(kind.spread * self.rng.standard_normal())
        self._effect = float(profile.noise.sizes.first_window(self.rng))
        self._seed = seed
        self._born = (
            f"{time.time_ns():x}"  # the same seed once more is another board that speaks, with other epochs
        )
        self._window_at = 0.0
        # Of their own: whether gauges are sent changes nothing else that is drawn.
        self._gauged_at = time.time()
        self._climate = np.random.default_rng([seed, index, 1])

    def boot(self) -> None:
        """A new process begins: a new epoch, and an update that was under way did not survive."""
        self.starts += 1
        self.epoch, self.sequence, self.connects = f"{self.name}-{self._born}-{self.starts}", 0, 0
        now = time.time()
        for slot in self.slots.values():
            slot.since = now
            update = slot.report.update
            if update is not None and update.outcome == "in-progress":
                ended = msgspec.structs.replace(
                    update, outcome="rolled-back", code="interrupted", finished_at=now,
                    message="The board went off in the middle of this update.",
                )  # fmt: skip
                self.settle(slot, ended)

    def settle(self, slot: BoardSlot, update: object) -> None:
        """Note how the update of a slot stands, what serves being unchanged."""
        state = "serving" if slot.report.artifact else "empty"
        slot.report = msgspec.structs.replace(slot.report, update=update, state=state)

    # --- what it says

    def enrolment(self, csr: str = "") -> bytes:
        """Its introduction; with a request for a certificate where it needs one."""
        facts, tags = self.kind.facts(), self.kind.tags
        return codec.canonical_json(EnrolRequest(schema=1, device=self.name, facts=facts, tags=tags, csr=csr))

    def next_report(self) -> Report:
        """Its whole state under the next number."""
        self.sequence += 1
        return Report(
            schema=1, device=self.name, epoch=self.epoch, sequence=self.sequence, at=time.time(),
            agent_version="simulated", revision_seen=self.revision, revision_applied=self.applied,
            slots={name: slot.report for name, slot in self.slots.items()}, facts=self.kind.facts(),
            tags=self.kind.tags, assignment=self.held, nonce=self.trust.nonce,
        )  # fmt: skip

    def presence(self, *, online: bool) -> bytes:
        """Birth or will of the connection that is counted in `connects`."""
        return codec.canonical_json(Presence(1, self.name, online, self.epoch, self.connects))

    def note(self, *bodies: Window | Gauges | SwapRecord | DeviceEvent) -> None:
        """Put telemetry into the outbox."""
        for body in bodies:
            self.seq += 1
            self.waiting.append(_item(self.seq, body))
        while len(self.waiting) > MAX_WAITING:
            self.waiting.popleft()
            self.dropped += 1

    def batch(self) -> tuple[Batch, int] | None:
        """The oldest telemetry that waits, and its last number; None when nothing does."""
        if not self.waiting:
            return None
        items = [self.waiting[n] for n in range(min(_BATCH, len(self.waiting)))]
        return Batch(schema=1, device=self.name, epoch=f"outbox-{self.name}-{self._born}", items=items), items[
            -1
        ].seq

    def confirmed(self, last: int) -> None:
        """The host has everything up to this number."""
        while self.waiting and self.waiting[0].seq <= last:
            self.waiting.popleft()

    # --- what it serves

    def fault_of(self, model: str, version: str) -> ReleaseFault | None:
        """What goes wrong with a version on this board; None when nothing does."""
        for fault, chance in zip(self.profile.faults, self.chance, strict=True):
            fits = not fault.classes or self.kind.name in fault.classes
            if fits and chance < fault.share and fault.version in (version, f"{model}@{version}"):
                return fault
        return None

    def swap_in(self, slot: BoardSlot, report: SlotReport, *, error_rate: float) -> None:
        """Another generation serves from now on."""
        slot.report, slot.served, slot.since = report, Served(), time.time()
        slot.level = float(self.profile.noise.sizes.swap_shift(self.rng))
        slot.error_rate = min(1.0, self.kind.error_rate + error_rate)

    def median_us(self, slot: BoardSlot) -> float:
        """The median latency of what serves there, in the window that is open."""
        model, version, profile = slot.report.model, slot.report.version, self.profile
        factor = _of(profile.versions, model, version) * _of(self.kind.versions, model, version)
        stretch = int(time.time() * profile.time_scale / profile.noise.common_s)
        shared = profile.noise.sizes.common_shift(self._seed, stretch)
        moved = self._own + slot.level + self._effect + shared + log(self.throttled * factor)
        return self.kind.latency_ms * 1000 * exp(moved)

    def close_windows(self) -> int:
        """End every slot's window now; returns how many were noted."""
        self._next_effect()
        if self.kind.temperature_c:
            self.note(draw_gauges(self._climate, self.kind, self._gauged_at, throttled=self.throttled != 1.0))
            self._gauged_at = time.time()
        return sum(self.close_window(slot, name) for name, slot in self.slots.items())

    def close_window(self, slot: BoardSlot, name: str) -> bool:
        """End a slot's window now and note it; False when there was nothing in it."""
        now, began = time.time(), slot.since
        slot.since = now
        if not slot.report.artifact or now <= began:
            return False
        count = int(self.rng.poisson(self.kind.requests_per_s * (now - began)))
        if not count:
            return False
        errors = int(self.rng.binomial(count, slot.error_rate)) if slot.error_rate else 0
        window = self._window(slot, name, (began, now), (count - errors, errors))
        slot.served.ok += count - errors
        slot.served.errors += errors
        for data in window.latency_us.values():
            slot.served.total_us.setdefault(window.throttled, Histogram()).merge(Histogram.from_data(data))
        self.note(window)
        return True

    def _window(self, slot: BoardSlot, name: str, span: tuple[float, float], counts: tuple[int, int]) -> Window:
        ok, errors = counts
        sd = self.profile.noise.request_sd
        return Window(
            start=span[0], end=span[1], slot=name, generation=slot.report.generation, artifact=slot.report.artifact,
            model=slot.report.model, version=slot.report.version, throttled=self.throttled != 1.0,
            probation=slot.probation, ok=ok, errors=errors,
            latency_us={"total": draw_latencies(self.rng, ok, self.median_us(slot), sd)} if ok else {},
        )  # fmt: skip

    def _next_effect(self) -> None:
        # Windows cut short by a swap share their effect: it belongs to a stretch of time, not to a message.
        now = time.monotonic()
        if now - self._window_at >= 0.9 * self.profile.window_s:
            self._window_at = now
            self._effect = float(self.profile.noise.sizes.next_window(self.rng, self._effect))

    def wants(self, assignment: Assignment) -> tuple[Sequence[str], Sequence[str]]:
        """Slots to empty, and slots to update, to converge."""
        gone = [name for name in self.slots if name not in assignment.slots]
        return gone, [name for name in assignment.slots if self._differs(name, assignment)]

    def is_placebo(self, name: str, wanted: SlotAssignment) -> bool:
        """Is a slot to swap to what it serves once more? Once for each occasion."""
        slot = self.slots.get(name)
        if slot is None or not wanted.placebo:
            return False
        return slot.report.artifact == wanted.artifact and slot.placebo != wanted.placebo

    def _differs(self, name: str, assignment: Assignment) -> bool:
        wanted = assignment.slots[name]
        update = self.slots[name].report.update if name in self.slots else None
        if update is None or (update.artifact, update.rollout) != (wanted.artifact, wanted.rollout):
            return True
        if self.is_placebo(name, wanted):
            return True
        # As the agent: what was interrupted is tried again, what failed only once it was asked for again.
        if update.code == "interrupted" and update.attempts < wanted.policy.max_attempts:
            return True
        return update.outcome != "committed" and update.revision < (wanted.asked or assignment.revision)


def _of(factors: dict[str, float], model: str, version: str) -> float:
    return factors.get(f"{model}@{version}", factors.get(version, 1.0))


def _item(seq: int, body: Window | Gauges | SwapRecord | DeviceEvent) -> Item:
    if isinstance(body, Window):
        return Item(seq, window=body)
    if isinstance(body, Gauges):
        return Item(seq, gauges=body)
    return Item(seq, swap=body) if isinstance(body, SwapRecord) else Item(seq, event=body)
