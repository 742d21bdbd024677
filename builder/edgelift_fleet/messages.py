"""What the control plane answers to people and their tools: the JSON of the operator's API and of `--json`.

Times are seconds since 1970; latencies microseconds; names are the contract's.
"""

from __future__ import annotations

import msgspec

from edgelift_contract.assignment import Policy
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.telemetry import DeviceEvent


class Quantiles(msgspec.Struct, frozen=True):
    """Of merged histograms: number of requests, and p50, p95, p99, lowest and highest, microseconds."""

    count: int
    p50_us: float
    p95_us: float
    p99_us: float
    low_us: float
    high_us: float


class VersionLatency(msgspec.Struct, frozen=True):
    """Latency (phase `total`) of one version in one slot, over all windows received.

    `ok` and `errors` are requests answered and failed; `start` to `end` is the time that the windows span.
    """

    model: str
    version: str
    artifact: str
    windows: int
    ok: int
    errors: int
    start: float
    end: float
    total: Quantiles


class SwapView(msgspec.Struct, frozen=True):
    """One swap, as the device recorded it; `before` and `after` are latencies around it, None where unknown."""

    at: float
    slot: str
    version_from: str
    version_to: str
    artifact_from: str
    artifact_to: str
    mode: str
    reason: str
    commit_us: float
    dropped: int
    drained: int
    drain_ms: float
    parked: int
    fetch_ms: float
    preflight_ms: float
    load_ms: float
    warm_ms: float
    fetched_bytes: int
    before: Quantiles | None
    after: Quantiles | None


class Desired(msgspec.Struct, frozen=True):
    """What a slot should run."""

    model: str
    version: str
    artifact: str
    rollout: str
    policy: Policy


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


class DeviceSummary(msgspec.Struct, frozen=True):
    """A device in a list. `duplicates` names the devices that share its id, as after a card was cloned; empty when
    it is one, as it should be.
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


class HistoryEntry(msgspec.Struct, frozen=True):
    """One update of one slot: when it was first and last reported (host's clock), and how it stands."""

    slot: str
    first_at: float
    last_at: float
    update: UpdateReport


class DeviceDetail(msgspec.Struct, frozen=True):
    """Everything about a device. Histories are newest first."""

    device: DeviceSummary
    enrolled_at: float
    agent_version: str
    facts: DeviceFacts
    latency: list[VersionLatency]
    swaps: list[SwapView]
    history: list[HistoryEntry]
    events: list[DeviceEvent]
    windows_received: int


class ArtifactView(msgspec.Struct, frozen=True):
    """One artifact of a release."""

    id: str
    hardware_class: str
    targets: list[str]
    runtime: str
    format: str
    variant: str
    rank: int
    size_bytes: int


class ReleaseView(msgspec.Struct, frozen=True):
    """A release; `running` counts the slots that serve it now."""

    model: str
    version: str
    release_counter: int
    published_at: float
    artifacts: list[ArtifactView]
    running: int


class RolloutDeviceView(msgspec.Struct, frozen=True):
    """A device that a rollout reached. `status`: waiting, updating, committed, failed, superseded or restored."""

    device: str
    wave: int
    status: str
    status_at: float
    artifact: str
    revision: int
    code: str
    message: str
    previous: str


class RolloutEvent(msgspec.Struct, frozen=True):
    """Something that happened in a rollout."""

    at: float
    kind: str
    text: str


class RolloutView(msgspec.Struct, frozen=True):
    """A rollout. `wave` counts from 1; 0 before the first. `state`: running, paused, rolling-back, rolled-back,
    done or cancelled.
    """

    id: str
    release: str
    slot: str
    selector: str
    waves: list[str]
    soak_s: float
    max_failures: int
    deadline_s: float
    policy: Policy
    state: str
    wave: int
    reason: str
    created_at: float
    changed_at: float
    cohort: int
    reached: int
    committed: int
    failed: int
    devices: list[RolloutDeviceView]
    events: list[RolloutEvent]


class ServerHealth(msgspec.Struct, frozen=True):
    """Of the server. `broker`: `connected`, `disconnected` or `none`."""

    site: str
    version: str
    uptime_s: float
    devices: int
    broker: str


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Have a device run a release, as `digits@2`; the slot is the model's name when left out."""

    release: str
    slot: str = ""
    policy: Policy = Policy()


class AssignReply(msgspec.Struct, frozen=True):
    """What is assigned now. `changed` is False when it was so already."""

    device: str
    revision: int
    changed: bool
    slot: str
    desired: Desired


class TagsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags to set (key → value, which may be empty) and keys to remove."""

    set: dict[str, str] = {}
    remove: list[str] = []


class RolloutRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Start a rollout.

    Attributes:
        release: as `digits@2`.
        to: `tag:key`, `tag:key=value` or `all`.
        waves: cumulative: counts (`1`) or shares (`25%`) of the cohort; the last is `100%`.
        slot: the model's name when empty.
        soak_s: how long a wave must have served before the next begins, seconds.
        max_failures: failed devices that are tolerated.
        deadline_s: how long a silent device holds its wave before it counts as failed, seconds.
        policy: how each device updates.
    """

    release: str
    to: str
    waves: list[str]
    slot: str = ""
    soak_s: float = 0.0
    max_failures: int = 0
    deadline_s: float = 3600.0
    policy: Policy = Policy()
