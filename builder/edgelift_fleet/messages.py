"""What the control plane answers to people and their tools: the JSON of the operator's API and of `--json`.

Times are seconds since 1970; latencies microseconds; names are the contract's.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.assignment import Policy
from edgelift_contract.replies import ErrorReply
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.telemetry import DeviceEvent

#: Of a plan: at most thirty years, what JSON's readers count to, and no start after the year 2100.
PlanSeconds = Annotated[float, Meta(ge=0, le=1e9)]
PlanCount = Annotated[int, Meta(ge=0, le=2**53)]
LAST_START = 4102444800


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


class LatencyStep(msgspec.Struct, frozen=True):
    """A step of time in a picture of latency: requests answered and failed, and quantiles by phase."""

    start: float
    end: float
    ok: int
    errors: int
    phases: dict[str, Quantiles]


class LatencyGroup(msgspec.Struct, frozen=True):
    """Latency of one version in one slot on one hardware class, apart for throttled processors; quantiles by phase.

    `start` to `end` is the time that its windows span; `steps` are there when a step was asked for.
    """

    slot: str
    model: str
    version: str
    artifact: str
    hardware_class: str
    throttled: bool
    windows: int
    ok: int
    errors: int
    start: float
    end: float
    phases: dict[str, Quantiles]
    steps: list[LatencyStep] = []


class LatencyReply(msgspec.Struct, frozen=True):
    """Latency over a stretch of time. `start` and `end` are what the answer is really about: where minutes are no longer
    kept, or for many devices at once, whole hours.
    """

    start: float
    end: float
    groups: list[LatencyGroup]


class GaugeValue(msgspec.Struct, frozen=True):
    """A gauge over a step of time: the least, the mean and the most of its values."""

    min: float
    mean: float
    max: float


class GaugeStep(msgspec.Struct, frozen=True):
    """A step of time with the gauges that were sent in it."""

    start: float
    end: float
    values: dict[str, GaugeValue]


class DeviceGauges(msgspec.Struct, frozen=True):
    """A device's newest gauges, and when they were read."""

    device: str
    at: float
    values: dict[str, float]


class SampleRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keep what a device sends for so many seconds from now on at full resolution."""

    for_s: float


class SampleReply(msgspec.Struct, frozen=True):
    """A device is sampled: what is received from `since` until `until` is kept one by one."""

    device: str
    since: float
    until: float


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
    a device while it is set apart, and rollouts go on without it.
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
    """A release; `running` counts the slots that serve it now; `fault` says why it can't be read, and what to do."""

    model: str
    version: str
    release_counter: int
    published_at: float
    artifacts: list[ArtifactView]
    running: int
    fault: str = ""


class RolloutDeviceView(msgspec.Struct, frozen=True):
    """A device that a rollout reached.

    `status`: `waiting` (there, not begun), `offline` (not there, not begun), `updating`, `committed`, `failed`, `silent`
    (no end at its deadline), `superseded` (another assignment took its place), `left` (no longer selected), `unsuited`
    (nothing of the release can be assigned to it), `held` (taken back by a pause), `restored` or `let-go`.
    `committed_by` is what its commit rests on: `requests` that the host has seen in its windows, or its `goldens` alone.
    """

    device: str
    wave: int
    status: str
    status_at: float
    artifact: str
    revision: int
    code: str
    message: str
    previous: str
    committed_by: str = ""


class RolloutEvent(msgspec.Struct, frozen=True):
    """Something that happened in a rollout.

    Attributes:
        at: seconds since 1970.
        kind: the rollout's new state, devices' new status, or `wave`, `joined`, `held`, `elsewhere`, `let-go`.
        text: for people; of many devices it names a few.
        seq: grows with every event of a site.
        who, why: of an order that a person gave.
        devices: outcome → all the devices that this is about; of an end every one that was selected or reached.
    """

    at: float
    kind: str
    text: str
    seq: int = 0
    who: str = ""
    why: str = ""
    devices: dict[str, list[str]] = {}


class RolloutSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout in a list.

    Attributes:
        wave: counts from 1; 0 before the first.
        state: `scheduled`, `running`, `paused`, `rolling-back`, `rolled-back` (all that it changed are back),
            `wave-rolled-back` (earlier waves keep the release), `done` or `cancelled`.
        cohort: devices that are selected, at the last look.
        reached: devices that it reached, in whatever status; `counts` has them by status.
        committed, offline: of those.
        failed: devices that failed or did not answer in time, also where they are back by now.
        due_at: when time alone will change something, seconds since 1970; 0 for never.
        name: as a person named it; may be empty.
    """

    id: str
    release: str
    slot: str
    selector: str
    waves: list[str]
    soak_s: float
    max_failures: int | str
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
    offline: int = 0
    counts: dict[str, int] = {}
    due_at: float = 0.0
    keep_earlier: bool = False
    name: str = ""


class RolloutView(RolloutSummary, frozen=True, kw_only=True):
    """A rollout with devices that it reached, by wave and id, and what happened.

    Attributes:
        devices: as many as were asked for.
        more: how many others match what was asked for.
        events: the last 500, oldest first.
        now: the host's clock, seconds since 1970, to count down to `due_at` by.
        plan: all that was asked for; `seed` of its draw, None where there is none.
    """

    devices: list[RolloutDeviceView]
    events: list[RolloutEvent]
    more: int = 0
    now: float = 0.0
    plan: PlanOptions | None = None
    seed: int | None = None


class RolloutOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says with a command: why, and of `let-go` which devices."""

    why: Annotated[str, Meta(max_length=2000)] = ""
    devices: Annotated[list[str], Meta(max_length=10_000)] = []


class Load(msgspec.Struct, frozen=True):
    """What the server carries just now, and how much of each it could.

    Attributes:
        connections, connections_limit: of its HTTP side.
        parked_polls: of them, long polls that wait.
        waiting_messages: reports and telemetry that came and aren't stored yet.
        descriptors, descriptors_limit: files and sockets of its process.
    """

    connections: int = 0
    connections_limit: int = 0
    parked_polls: int = 0
    waiting_messages: int = 0
    descriptors: int = 0
    descriptors_limit: int = 0


class ServerHealth(msgspec.Struct, frozen=True):
    """Of the server. `broker`: `connected`, `disconnected` or `none`. `leads`: of several servers of a site, the one
    that drives rollouts. `damaged_blobs`: set aside because they are no longer what they were; see the releases.
    """

    site: str
    version: str
    uptime_s: float
    devices: int
    broker: str
    leads: bool = True
    load: Load = Load()
    damaged_blobs: int = 0


class AssignRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Have a device run a release, as `digits@2`; the slot is the model's name when left out."""

    release: str
    slot: str = ""
    policy: Policy = Policy()


class AssignManyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Have every device that the selector `to` means run a release; otherwise as `AssignRequest`."""

    release: str
    to: str
    slot: str = ""
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

    set: dict[str, str] = {}
    remove: list[str] = []


class PlanOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a rollout is to go, but for its waves. Every default is what a plan without it means.

    Attributes:
        name, comment: for people.
        soak_s: how long a wave must have served before the next begins, seconds.
        max_failures: failed devices that are tolerated: a count, or a share of the cohort as `5%`.
        max_offline: devices that may be offline, alike; any number when left out.
        deadline_s: how long a silent device holds its wave before it counts as failed, seconds.
        on_breach: what more failures bring: the wave gets its previous version back, or the rollout pauses.
        keep_earlier: do waves that were proven keep the release when a later one goes back?
        approval: does each wave after the first wait for a person's word?
        retries: how often a device that failed for a passing reason is asked again.
        retry_after_s: before the first such time, twice as long before each further one, seconds.
        start_at: not before, seconds since 1970.
        concurrency: devices that may be under way at once; 0 for any number.
        rate_per_min: devices that may begin in a minute; 0 for any number.
        bandwidth_bytes_s: bytes of artifacts that may be asked for in a second over the fleet; 0 for any number.
        late_joiners: are devices that are selected only later taken `in`, or left `out`?
        windows: when devices may begin, by their own clocks, as `Mon-Fri 22:00-05:00`; always without one.
        timezone: of devices that don't tell theirs, as `Europe/Vienna`; UTC when left out.
        gates: what waves are compared by: `latency`, `errors`, `silence`; nothing when empty.
        gate_alpha: false alarms that are put up with over the whole rollout, as a share.
        gate_slower: slowdown that is allowed, as a share.
        gate_more_errors: rise of the share of failed requests that is allowed.
        gate_looks: how often a wave is looked at.
        gate_min_requests: requests of a device before it counts in a comparison.
        gate_before_s: how long before a wave counts as before it, seconds.
        placebo: do controls swap to their own version when a wave swaps, so that the swap isn't taken for the model?
    """

    name: Annotated[str, Meta(max_length=100)] = ""
    comment: Annotated[str, Meta(max_length=2000)] = ""
    soak_s: PlanSeconds = 0.0
    max_failures: PlanCount | Annotated[str, Meta(max_length=16)] = 0
    max_offline: PlanCount | Annotated[str, Meta(max_length=16)] | None = None
    deadline_s: PlanSeconds = 3600.0
    on_breach: Literal["rollback", "pause"] = "rollback"
    keep_earlier: bool = False
    approval: bool = False
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    retry_after_s: PlanSeconds = 60.0
    start_at: Annotated[float, Meta(ge=0, le=LAST_START)] = 0.0
    concurrency: PlanCount = 0
    rate_per_min: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    bandwidth_bytes_s: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    late_joiners: Literal["in", "out"] = "in"
    windows: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=16)] = []
    timezone: Annotated[str, Meta(max_length=64)] = ""
    gates: Annotated[list[Literal["latency", "errors", "silence"]], Meta(max_length=8)] = msgspec.field(
        default_factory=lambda: ["latency", "errors", "silence"]
    )
    gate_alpha: Annotated[float, Meta(ge=1e-6, le=0.2)] = 0.01
    gate_slower: Annotated[float, Meta(ge=0, le=10)] = 0.05
    gate_more_errors: Annotated[float, Meta(ge=0, le=1)] = 0.005
    gate_looks: Annotated[int, Meta(ge=1, le=60)] = 6
    gate_min_requests: PlanCount = 100
    gate_before_s: PlanSeconds = 3600.0
    placebo: bool = False


class RolloutRequest(PlanOptions, frozen=True):
    """Start a rollout; how it is to go is said by the fields of `PlanOptions`, too.

    Attributes:
        release: as `digits@2`.
        to: a selector, as `tag:barn and class:arm64-*`.
        waves: cumulative: counts (`1`) or shares (`25%`) of the cohort; the last is `100%`.
        slot: the model's name when empty.
        seed: of the order in which devices are drawn, as a preview named it; a new one when left out.
        policy: how each device updates.
    """

    release: str
    to: str
    waves: Annotated[list[Annotated[str, Meta(max_length=16)]], Meta(max_length=100)]
    slot: str = ""
    seed: PlanCount | None = None
    policy: Policy = Policy()


class PreviewWave(msgspec.Struct, frozen=True):
    """A wave before it begins: how many devices of which class, bytes to fetch, when it is done at the earliest (seconds
    from now), and the first of its devices.
    """

    wave: int
    reach: str
    devices: int
    classes: dict[str, int]
    fetch_bytes: int
    ends_s: float
    first: list[str]


class PreviewArtifact(msgspec.Struct, frozen=True):
    """An artifact of the release, and how many devices would get it."""

    artifact: str
    hardware_class: str
    runtime: str
    variant: str
    size_bytes: int
    devices: int


class PreviewRefusal(msgspec.Struct, frozen=True):
    """Why there is no artifact for a device."""

    device: str
    code: str
    message: str


class PreviewDevice(msgspec.Struct, frozen=True):
    """A device that is selected: the wave that would reach it (0: none), and its artifact (empty: none)."""

    device: str
    wave: int
    hardware_class: str
    artifact: str
    online: bool


class RolloutPreview(msgspec.Struct, frozen=True):
    """What a rollout would do if it began now.

    Attributes:
        cohort, classes: devices that are selected, in all and by class.
        waves: a forecast: each wave is drawn when it begins.
        fetch_bytes: at most so many go over the links; who runs the release already fetches nothing.
        least_s: how long it takes at least, in seconds: probation, soak, windows, limits; no downloads.
        offline, running, unsuited, older, elsewhere: devices that are not there; that run it already; for which there is
            no artifact; that ran a newer release; that another rollout of the slot has, with its id.
        unknown: ids that the selector names and no device has.
        devices: every device that is selected.
        refusals: why it can't be started; empty when it can.
    """

    release: str
    slot: str
    to: str
    seed: int
    cohort: int
    classes: dict[str, int]
    waves: list[PreviewWave]
    artifacts: list[PreviewArtifact]
    fetch_bytes: int
    least_s: float
    offline: list[str]
    running: list[str]
    unsuited: list[PreviewRefusal]
    older: list[str]
    elsewhere: dict[str, str]
    unknown: list[str]
    devices: list[PreviewDevice]
    refusals: list[ErrorReply]
