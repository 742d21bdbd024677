"""The report: what a device runs now, and how its last update of each slot ended.

Sent whole whenever it changes and on every (re)connect, so that the host's view corrects itself after any
loss. "Success" is said only by `committed`: the new generation served its probation.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.ids import Count, DeviceId, Epoch, Name

MAX_REPORT_BYTES = 64 * 1024

#: Where a slot stands. `updating` covers fetching to swapping; `observing` is probation.
SlotState = Literal["empty", "serving", "updating", "observing", "rolling-back", "pinned"]

#: How an update ended. `refused`: nothing served was changed. `rolled-back`: the old generation serves again.
Outcome = Literal["none", "in-progress", "committed", "refused", "rolled-back", "superseded", "inconsistent"]

#: The update machine's states by name, as they appear in reports, logs and events.
Phase = Literal[
    "idle", "fetching", "verifying", "staging", "preflight", "swapping",
    "observing", "committing", "rolling-back", "reporting",
]  # fmt: skip


class UpdateReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last update of a slot.

    Attributes:
        artifact, model, version: what was tried.
        revision: the assignment's revision that asked for it.
        rollout: the rollout that asked for it; empty for none.
        outcome: how it ended, or `in-progress`.
        phase: where it stands, or where it ended.
        code, message: why it did not commit; empty otherwise.
        attempts: how often it was tried.
        requests, errors: served in probation.
        fetched_bytes: bytes that came over the link.
        finished_at: device's clock, seconds since 1970; 0 while in progress.
    """

    artifact: str
    model: str = ""
    version: str = ""
    revision: Count = 0
    rollout: str = ""
    outcome: Outcome = "in-progress"
    phase: Phase = "idle"
    code: str = ""
    message: Annotated[str, Meta(max_length=2000)] = ""
    attempts: Count = 1
    requests: Count = 0
    errors: Count = 0
    fetched_bytes: Count = 0
    finished_at: float = 0.0


class SlotReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slot.

    Attributes:
        state: see `SlotState`.
        generation: number of the generation that serves; 0 for none.
        artifact, model, version: what serves; empty for none.
        since: when it began to serve, device's clock, seconds since 1970.
        update: the last update; None before the first.
    """

    state: SlotState = "empty"
    generation: Count = 0
    artifact: str = ""
    model: str = ""
    version: str = ""
    since: float = 0.0
    update: UpdateReport | None = None


class Degradation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something broken around the agent while it goes on serving.

    Attributes:
        part: what of the agent suffers, as `journal`, `telemetry`, `clock`.
        code: one of `errors.CODES`; message: what is wrong and what to do.
        since: when it began, device's clock, seconds since 1970.
    """

    part: Annotated[str, Meta(max_length=64)]
    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=2000)] = ""
    since: float = 0.0


class DeviceFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the machine is: slow-changing, so it travels in the report rather than in every window.

    Attributes:
        hardware_class: as judged from the processor.
        accepts: hardware classes whose artifacts it may run, best first.
        runtimes: name → version of every runtime that can be loaded, as `{"onnxruntime": "1.32.0"}`.
        cores, memory_bytes, disk_free_bytes: of the whole machine.
        board, system: for people: the board's own name, the system's release.
        timezone: where it stands, as `Europe/Vienna`: maintenance windows are meant in it; empty when it isn't told.
    """

    hardware_class: str
    accepts: list[str] = []
    runtimes: dict[str, str] = {}
    cores: Count = 0
    memory_bytes: Count = 0
    disk_free_bytes: Count = 0
    board: str = ""
    system: str = ""
    python: str = ""
    timezone: Annotated[str, Meta(max_length=64)] = ""


class Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a device says of itself.

    Attributes:
        schema: version of this format.
        device: who speaks.
        epoch: boot id and start count; a report of an older epoch is out of date.
        sequence: grows with every report of one epoch; the host keeps the highest.
        at: device's clock, seconds since 1970.
        agent_version: release of the agent.
        revision_seen, revision_applied: newest assignment received, and carried out to its end.
        slots: slot name → its state.
        facts: the machine.
        assignment: SHA-256 of the assignment of `revision_seen`; empty before the first, and for a while after one that
            soon followed another.
        address: where the device speaks from, by its own account: `10.0.0.7`; the host can't see it through a broker.
        degraded: what is broken around the agent; empty when nothing is.
    """

    SCHEMA: ClassVar[int] = 1

    schema: int
    device: DeviceId
    epoch: Epoch
    sequence: Count
    at: float
    agent_version: str
    revision_seen: Count = 0
    revision_applied: Count = 0
    slots: dict[Name, SlotReport] = {}
    facts: DeviceFacts | None = None
    tags: dict[str, str] = {}
    assignment: Annotated[str, Meta(max_length=64)] = ""
    address: Annotated[str, Meta(max_length=64)] = ""
    degraded: Annotated[list[Degradation], Meta(max_length=32)] = []


class Presence(msgspec.Struct, frozen=True):
    """Birth and will on `up/state`. A will whose epoch is older than the newest birth's is ignored."""

    SCHEMA: ClassVar[int] = 1

    schema: int
    device: DeviceId
    online: bool
    epoch: Epoch
    connect: Count
