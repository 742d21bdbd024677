"""A board as the control plane hears it: what it is, the bytes by which it says so, and words that no board should say."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelift_contract import codec, routes
from edgelift_contract.assignment import SlotAssignment
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.histogram import Histogram
from edgelift_contract.report import DeviceFacts, Report, SlotReport, UpdateReport
from edgelift_contract.telemetry import Batch, DeviceEvent, Gauges, Item, SwapRecord, Window

CLASSES = {"x86-64-avx2": ["x86-64-avx2"], "arm64-neon": ["arm64-neon"], "riscv64": ["riscv64"]}


def facts(hardware_class: str) -> DeviceFacts:
    return DeviceFacts(hardware_class, CLASSES[hardware_class], {"onnxruntime": "1.30.0"})


def update_of(wanted: SlotAssignment, revision: int, outcome: str, requests: int = 0) -> UpdateReport:
    """How an update of what is wanted ended, or that it has begun."""
    failed = outcome in ("refused", "rolled-back")
    return UpdateReport(
        wanted.artifact, wanted.model, wanted.version, revision, wanted.rollout, outcome, requests=requests,
        code="golden-mismatch" if failed else "", message="It is wrong." if failed else "",
    )  # fmt: skip


@dataclass
class Board:
    """One board.

    Attributes:
        revision, wanted: of the newest assignment that it has seen.
        sent: its batches, as they went.
    """

    name: str
    hardware_class: str = "x86-64-avx2"
    tags: dict[str, str] = field(default_factory=dict)
    enrolled: bool = False
    boots: int = 1
    sequence: int = 0
    revision: int = 0
    wanted: dict[str, SlotAssignment] = field(default_factory=dict)
    slots: dict[str, SlotReport] = field(default_factory=dict)
    outbox: int = 1
    seq: int = 0
    reports: list[bytes] = field(default_factory=list)
    sent: list[Batch] = field(default_factory=list)

    @property
    def epoch(self) -> str:
        return f"{self.name}-boot-{self.boots}"

    def enrolment(self) -> bytes:
        asked = EnrolRequest(schema=1, device=self.name, facts=facts(self.hardware_class), tags=self.tags)
        return codec.canonical_json(asked)

    def report(self, at: float, **other: object) -> bytes:
        """Its next report; `other` fields lie."""
        self.sequence += 1
        true = {
            "schema": 1, "device": self.name, "epoch": self.epoch, "sequence": self.sequence, "at": max(0.0, at),
            "agent_version": "played", "revision_seen": self.revision, "revision_applied": self.revision,
            "slots": self.slots, "facts": facts(self.hardware_class), "tags": self.tags,
        }  # fmt: skip
        data = codec.canonical_json(Report(**{**true, **other}))
        if not other:
            self.reports.append(data)
        return data

    def take(self, wanted: dict[str, SlotAssignment], revision: int, outcome: str) -> list[str]:
        """Carry an assignment out, or begin with it; the slots that changed."""
        self.revision, self.wanted = revision, wanted
        for gone in set(self.slots) - set(wanted):
            del self.slots[gone]
        changed = []
        for name, one in wanted.items():
            old = self.slots.get(name, SlotReport())
            stands = old.update is not None and (
                old.update.outcome == "committed" or one.asked <= old.update.revision
            )
            if stands and (old.update.artifact, old.update.rollout) == (one.artifact, one.rollout) and (
                old.update.outcome != "in-progress"
            ):  # fmt: skip
                continue
            update = update_of(one, revision, outcome, requests=40 if outcome == "committed" else 0)
            if outcome == "committed":
                self.slots[name] = SlotReport(
                    "serving", old.generation + 1, one.artifact, one.model, one.version, 1.0, update
                )
            else:
                state = "serving" if old.artifact else "empty"
                self.slots[name] = SlotReport(
                    state, old.generation, old.artifact, old.model, old.version, old.since, update
                )
            changed.append(name)
        return changed

    def window(self, slot: str, at: float, ok: int, errors: int = 0, **other: object) -> Window:
        """A minute of what serves; `other` fields lie."""
        state, latency = self.slots[slot], Histogram()
        latency.record_all([400.0 + n for n in range(ok)])
        true = {
            "start": at - 60, "end": at, "slot": slot, "generation": state.generation, "artifact": state.artifact,
            "model": state.model, "version": state.version, "ok": ok, "errors": errors,
            "latency_us": {"total": latency.to_data()},
        }  # fmt: skip
        return Window(**{**true, **other})

    def batch(self, *bodies: Window | Gauges | DeviceEvent | SwapRecord) -> Batch:
        """The next batch of its outbox."""
        kinds = {Window: "window", Gauges: "gauges", SwapRecord: "swap", DeviceEvent: "event"}
        items = [Item(self.seq + n, **{kinds[type(one)]: one}) for n, one in enumerate(bodies, 1)]
        self.seq += len(bodies)
        self.sent.append(Batch(schema=1, device=self.name, epoch=f"{self.name}-{self.outbox}", items=items))
        return self.sent[-1]

    @property
    def report_path(self) -> str:
        return routes.report_path(self.name)

    @property
    def telemetry_path(self) -> str:
        return routes.telemetry_path(self.name)

    @property
    def desired_path(self) -> str:
        return routes.desired_path(self.name)
