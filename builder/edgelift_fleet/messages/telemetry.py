"""Latency, gauges and swaps as the control plane answers them. Latencies in microseconds, times in seconds since 1970."""

from __future__ import annotations

import msgspec

from edgelift_fleet.messages.asked import SampleSeconds


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

    for_s: SampleSeconds


class SampleReply(msgspec.Struct, frozen=True):
    """A device is sampled: what is received from `since` until `until` is kept one by one."""

    device: str
    since: float
    until: float


class SwapView(msgspec.Struct, frozen=True):
    """One swap, as the device recorded it; `before` and `after` are latencies around it, None where unknown;
    `golden_max_error` is the largest absolute difference to a golden.
    """

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
    golden_max_error: float = 0.0
