"""Telemetry: windows of latency, swap records and events, delivered at least once.

Every item carries a sequence number that its device never uses twice within one epoch, so the host drops
what it already has, keyed by (device, epoch, seq). A batch may hold items of several kinds; the order within
a batch is the order in which things happened.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import (
    Finite,
    Microseconds,
    Milliseconds,
    Moment,
    Reading,
    Requests,
    Schema,
    Share,
    Text,
    Word,
)
from edgelift_contract.histogram import HistogramData
from edgelift_contract.ids import Count, DeviceId, Epoch, Generation, Name

MAX_BATCH_BYTES = 512 * 1024

#: Parts of a request. `total` is from the last byte received to the first byte sent.
LatencyPhase = Literal["queue", "decode", "infer", "encode", "total"]


class Window(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one generation did in a stretch of time, one minute when fresh, longer once merged.

    Attributes:
        start, end: device's clock, seconds since 1970; start included, end not.
        slot, generation, artifact, model, version: who served.
        throttled: was the processor throttled; latencies compare only within one value.
        ok, errors: requests answered and failed.
        latency_us: phase → histogram, microseconds.
    """

    start: Moment
    end: Moment
    slot: Name
    generation: Generation
    artifact: Word
    model: Word
    version: Word
    throttled: bool = False
    probation: bool = False
    ok: Requests = 0
    errors: Requests = 0
    latency_us: dict[LatencyPhase, HistogramData] = {}


class Gauges(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The machine over one window: each value the last seen, except `cpu_pct`, the mean.

    Units stand in the names the source gives them: `cpu_pct`, `memory_used_bytes`, `soc_temp_c`,
    `under_voltage` (0 or 1), `throttled` (0 or 1), `power_w` …
    """

    start: Moment
    end: Moment
    values: Annotated[dict[Word, Reading], Meta(max_length=256)] = {}


class SwapRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one swap did. Times in milliseconds but `commit_us`; memory in bytes.

    Attributes:
        at: device's clock at the swap, seconds since 1970.
        generation_from, generation_to: 0 stands for none.
        mode: `parallel` has both in memory, `park` makes requests wait for the exchange.
        reason: `update`, `rollback`, `restore` (start-up), `empty`, or `placebo`: to the artifact that served already.
        fetch_ms, verify_ms, preflight_ms, load_ms, warm_ms: the way to the swap.
        golden_max_error: largest absolute difference to a golden.
        commit_us: how long the exchange of the pointer held the lock, microseconds.
        drained: requests in flight on the old generation at the exchange; drain_ms: until the last ended.
        parked, park_max_ms: requests that waited in `park`, and the longest wait.
        dropped: requests that failed because of the swap; 0 or the swap is at fault.
        rss_before_bytes, rss_peak_bytes, rss_after_bytes: the agent's resident memory.
        preflight_p50_us, preflight_p95_us, preflight_peak_bytes: measured before the swap.
        before_us, after_us: total latency of the old generation before and the new one after.
        before_throttled, after_throttled: share of those requests made while throttled.
        fetched_bytes: bytes that came over the link.
    """

    at: Moment
    slot: Name
    generation_from: Generation
    generation_to: Generation
    artifact_from: Word = ""
    artifact_to: Word = ""
    version_from: Word = ""
    version_to: Word = ""
    mode: Literal["parallel", "park"] = "parallel"
    reason: Literal["update", "rollback", "restore", "empty", "placebo"] = "update"
    fetch_ms: Milliseconds = 0.0
    verify_ms: Milliseconds = 0.0
    preflight_ms: Milliseconds = 0.0
    load_ms: Milliseconds = 0.0
    warm_ms: Milliseconds = 0.0
    golden_max_error: Finite = 0.0
    commit_us: Microseconds = 0.0
    drained: Count = 0
    drain_ms: Milliseconds = 0.0
    parked: Count = 0
    park_max_ms: Milliseconds = 0.0
    dropped: Count = 0
    rss_before_bytes: Count = 0
    rss_peak_bytes: Count = 0
    rss_after_bytes: Count = 0
    preflight_p50_us: Microseconds = 0.0
    preflight_p95_us: Microseconds = 0.0
    preflight_peak_bytes: Count = 0
    before_us: HistogramData | None = None
    after_us: HistogramData | None = None
    before_throttled: Share = 0.0
    after_throttled: Share = 0.0
    fetched_bytes: Count = 0


class DeviceEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that happened once.

    Attributes:
        at: device's clock, seconds since 1970.
        kind: what, kebab-case: `update-refused`, `rolled-back`, `throttled`, `agent-started` …
        slot: where; empty for the whole device.
        code: an error code, where it is an error.
        message: for a person.
    """

    at: Moment
    kind: Word
    slot: Word = ""
    code: Word = ""
    message: Text = ""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing in a batch; exactly one of the kinds is set."""

    seq: Count
    window: Window | None = None
    gauges: Gauges | None = None
    swap: SwapRecord | None = None
    event: DeviceEvent | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Items of one device and one epoch of its outbox; deduplicated by (device, epoch, seq)."""

    SCHEMA: ClassVar[int] = 1

    schema: Schema
    device: DeviceId
    epoch: Epoch
    items: Annotated[list[Item], Meta(max_length=10_000)]
