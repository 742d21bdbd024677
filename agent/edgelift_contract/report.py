"""The report: what a device runs now, and how its last update of each slot ended.

Sent whole whenever it changes and on every (re)connect, so that the host's view corrects itself after any
loss. "Success" is said only by `committed`: the new generation served its probation.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgelift_contract import codec
from edgelift_contract.bounds import Line, Moment, Schema, Seconds, Tags, Text, Word
from edgelift_contract.fitting import fit
from edgelift_contract.ids import Count, DeviceId, Epoch, Generation, Name, Nonce

MAX_REPORT_BYTES = 64 * 1024
#: Far more slots than an assignment can name in its 8 KB.
MAX_SLOTS = 128

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
        took_s: phase → how long it took, all its tries together, seconds; by a clock that nobody sets, so right also on a
            board that doesn't know what time it is. What passed while the device was off is not in it. Empty from an
            agent from before there was this field.
    """

    artifact: Word
    model: Word = ""
    version: Word = ""
    revision: Count = 0
    rollout: Word = ""
    outcome: Outcome = "in-progress"
    phase: Phase = "idle"
    code: Word = ""
    message: Text = ""
    attempts: Count = 1
    requests: Count = 0
    errors: Count = 0
    fetched_bytes: Count = 0
    finished_at: Moment = 0.0
    took_s: Annotated[dict[Word, Seconds], Meta(max_length=16)] = {}


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
    generation: Generation = 0
    artifact: Word = ""
    model: Word = ""
    version: Word = ""
    since: Moment = 0.0
    update: UpdateReport | None = None


class Degradation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something broken around the agent while it goes on serving.

    Attributes:
        part: what of the agent suffers, as `journal`, `telemetry`, `clock`.
        code: one of `errors.CODES`; message: what is wrong and what to do.
        since: when it began, device's clock, seconds since 1970.
    """

    part: Word
    code: Word
    message: Text = ""
    since: Moment = 0.0


class DeviceFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the machine is: slow-changing, so it travels in the report rather than in every window.

    Attributes:
        hardware_class: as judged from the processor.
        accepts: hardware classes whose artifacts it may run, best first.
        runtimes: name → version of every runtime that can be loaded, as `{"onnxruntime": "1.32.0"}`.
        cores, memory_bytes, disk_free_bytes: of the whole machine.
        board, system: for people: the board's own name, the system's release.
        timezone: where it stands, as `Europe/Vienna`: maintenance windows are meant in it; empty when it isn't told.
        abilities: what the agent can be asked for, as `bundle`; an agent from before there was this field, nothing.
    """

    hardware_class: Word
    accepts: Annotated[list[Word], Meta(max_length=32)] = []
    runtimes: Annotated[dict[Word, Line], Meta(max_length=32)] = {}
    cores: Count = 0
    memory_bytes: Count = 0
    disk_free_bytes: Count = 0
    board: Line = ""
    system: Line = ""
    python: Line = ""
    timezone: Word = ""
    abilities: Annotated[list[Word], Meta(max_length=32)] = []


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
        nonce: what the device asks to have signed into its next assignment; empty where nothing is signed.
        asks_fresh: it asks to have its assignment signed anew, with that nonce, though nothing may have changed.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    epoch: Epoch
    sequence: Count
    at: Moment
    agent_version: Word
    revision_seen: Count = 0
    revision_applied: Count = 0
    slots: Annotated[dict[Name, SlotReport], Meta(max_length=MAX_SLOTS)] = {}
    facts: DeviceFacts | None = None
    tags: Tags = {}
    assignment: Word = ""
    address: Word = ""
    degraded: Annotated[list[Degradation], Meta(max_length=32)] = []
    nonce: Nonce = ""
    asks_fresh: bool = False


#: Lengths to which messages are cut, one after the other, until a report is small enough.
_SHORTER = (500, 100, 0)


def dump_report(report: Report) -> bytes:
    """A report within its bounds, in canonical JSON of at most `MAX_REPORT_BYTES`: what is long in it gets shorter.

    A report that the host had to refuse for its length would never reach it, nor would any after it.
    """
    fitted = fit(report)
    data = codec.canonical_json(fitted)
    for length in _SHORTER:
        if len(data) <= MAX_REPORT_BYTES:
            break
        data = codec.canonical_json(_shorter(fitted, length))
    return data


def _shorter(report: Report, length: int) -> Report:
    """With messages of so many letters, and without how long updates took: nothing hangs on that."""
    replace = msgspec.structs.replace
    slots = {
        name: replace(slot, update=replace(slot.update, message=slot.update.message[:length], took_s={}))
        if slot.update
        else slot
        for name, slot in report.slots.items()
    }
    degraded = [replace(one, message=one.message[:length]) for one in report.degraded]
    return replace(report, slots=slots, degraded=degraded)


class Presence(msgspec.Struct, frozen=True):
    """Birth and will on `up/state`. A will whose epoch is older than the newest birth's is ignored."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    online: bool
    epoch: Epoch
    connect: Count
