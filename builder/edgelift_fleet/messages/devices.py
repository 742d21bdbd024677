"""Devices as the control plane answers them, and what may be asked of them: assignments, tags, mending."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgelift_contract.assignment import Policy
from edgelift_contract.bounds import Word
from edgelift_contract.report import Degradation, DeviceFacts, UpdateReport
from edgelift_contract.telemetry import DeviceEvent
from edgelift_fleet.messages.asked import ReleaseText, SelectorText, TagFilters, TagKeys, TagsToSet
from edgelift_fleet.messages.identity import IdentityView
from edgelift_fleet.messages.telemetry import SwapView, VersionLatency


class Desired(msgspec.Struct, frozen=True):
    """What a slot should run; `placebo`: the occasion on which it is to swap to that once more."""

    model: str
    version: str
    artifact: str
    rollout: str
    policy: Policy
    placebo: str = ""


class SlotSummary(msgspec.Struct, frozen=True):
    """A slot in a list: what serves, what should, and how the last update ended."""

    slot: str
    state: str
    generation: int
    model: str
    version: str
    artifact: str
    since: float
    desired: Desired | None
    update: UpdateReport | None


class SpeakerView(msgspec.Struct, frozen=True):
    """One of several devices that speak under one id: its process, from where, how, and when last."""

    epoch: str
    address: str
    via: str
    last_at: float


class FaultView(msgspec.Struct, frozen=True):
    """Why a device is set apart: `what` can't be read or used (`facts`, `assignment`, `revision` …), a stable `code`, what
    is wrong, and what to do.
    """

    what: str
    code: str
    message: str
    hint: str


class DeviceSummary(msgspec.Struct, frozen=True):
    """A device in a list. `duplicates` names the devices that share its id, as after a card was cloned; empty when
    it is one, as it should be. `faults` says what can't be read of it, and is empty as it should be: nothing is assigned to
    a device while it is set apart, and rollouts go on without it. `doubts` says what of its words no board can mean: that
    counts for nothing, and what else it says does.
    """

    device: str
    online: bool
    last_seen: float
    transport: str
    hardware_class: str
    tags: dict[str, str]
    revision: int
    revision_seen: int
    revision_applied: int
    slots: list[SlotSummary]
    duplicates: list[SpeakerView] = []
    faults: list[FaultView] = []
    doubts: list[FaultView] = []


class DeviceSearch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which devices, as the filters of their list say it in an address; all that is given must hold.

    Attributes:
        to: a selector, which may list ten thousand ids.
        hardware_class: or a pattern of it; `class` in JSON.
        tag: each a tag, or `key=value`; every one must be there.
        release: a slot serves it, as `digits@2`, or the model.
        failing: a slot could not take what it should run.
        online: it is there.
        duplicate: several devices speak under its id.
        faulty: it is set apart.
    """

    to: SelectorText = ""
    hardware_class: Word = msgspec.field(default="", name="class")
    tag: TagFilters = []
    release: ReleaseText = ""
    failing: bool | None = None
    online: bool | None = None
    duplicate: bool | None = None
    faulty: bool | None = None


class DeviceCounts(msgspec.Struct, frozen=True):
    """How many devices there are, of those that were asked for.

    Attributes:
        total: all of them.
        online: there now.
        failing: with a slot that could not take what it should run, and still should.
        duplicates: ids under which several devices speak.
        by_class: hardware class → devices.
        by_release: release, as `digits@2` → slots that serve it.
        warnings: what concerns all of them and wants doing: signatures that end soon.
    """

    total: int
    online: int
    failing: int
    duplicates: int
    by_class: dict[str, int]
    by_release: dict[str, int]
    warnings: list[str] = []


class MendReply(msgspec.Struct, frozen=True):
    """What a mend did: what was `dropped` because it could not be read, the fresh `revision` of the assignment (None:
    nothing is assigned now, the device keeps what it serves), and slots whose assignment was `lost`: assign them again.
    """

    device: str
    dropped: list[str]
    revision: int | None
    lost: list[str]


class HistoryEntry(msgspec.Struct, frozen=True):
    """One update of one slot: when it was first and last reported (host's clock), and how it stands."""

    slot: str
    first_at: float
    last_at: float
    update: UpdateReport


class DeviceDetail(msgspec.Struct, frozen=True):
    """Everything about a device. Histories are newest first. `dropped`: of what it had more than is kept of one device, the
    oldest so many went: `updates`, `windows`, `sums`, `gauges`, `notes`, `outboxes`. `identity`: None for one that
    never had a certificate. `degraded`: what it said last of what is broken around its agent; since when by its own clock.
    """

    device: DeviceSummary
    enrolled_at: float
    agent_version: str
    facts: DeviceFacts
    latency: list[VersionLatency]
    swaps: list[SwapView]
    history: list[HistoryEntry]
    events: list[DeviceEvent]
    windows_received: int
    dropped: dict[str, int] = {}
    identity: IdentityView | None = None
    degraded: list[Degradation] = []


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Have a device run a release, as `digits@2`; the slot is the model's name when left out."""

    release: ReleaseText
    slot: Word = ""
    policy: Policy = Policy()


class AssignManyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Have every device that the selector `to` means run a release; otherwise as `AssignRequest`."""

    release: ReleaseText
    to: SelectorText
    slot: Word = ""
    policy: Policy = Policy()


class AssignOutcome(msgspec.Struct, frozen=True):
    """What one of many devices got. `outcome`: `assigned`, `unchanged` (it was so already) or `refused`, with code and
    message.
    """

    device: str
    outcome: Literal["assigned", "unchanged", "refused"]
    slot: str = ""
    artifact: str = ""
    revision: int = 0
    code: str = ""
    message: str = ""


class AssignReply(msgspec.Struct, frozen=True):
    """What is assigned now. `changed` is False when it was so already."""

    device: str
    revision: int
    changed: bool
    slot: str
    desired: Desired


class TagsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags to set (key → value, which may be empty) and keys to remove."""

    set: TagsToSet = {}
    remove: TagKeys = []
