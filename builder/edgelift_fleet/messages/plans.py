"""What a rollout is asked to do, and what it would do: plans and previews."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.assignment import Policy
from edgelift_contract.bounds import Word
from edgelift_contract.replies import ErrorReply
from edgelift_fleet.messages.asked import ReleaseText, SelectorText

#: Of a plan: at most thirty years, what JSON's readers count to, and no start after the year 2100.
PlanSeconds = Annotated[float, Meta(ge=0, le=1e9)]
PlanCount = Annotated[int, Meta(ge=0, le=2**53)]
LAST_START = 4102444800


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
        gate_wait_s: how long a wave that has soaked waits at most for its devices to serve those requests, seconds.
        gate_unmeasured: what follows when too few have by then: `pause`, or `advance` to the next wave all the same.
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
    gate_wait_s: PlanSeconds = 3600.0
    gate_unmeasured: Literal["pause", "advance"] = "pause"
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

    release: ReleaseText
    to: SelectorText
    waves: Annotated[list[Annotated[str, Meta(max_length=16)]], Meta(max_length=100)]
    slot: Word = ""
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
        cautions: what to know and what doesn't stop it: devices that nobody asks, waves that can't be compared.
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
    cautions: list[str] = []
