"""What the inference server measured, as families of `prometheus_client`, made at a scrape from what is counted anyway.

Inference counters carry Triton's names, so that existing dashboards work: these end without `_total` and count
microseconds, so they are given as untyped, which `rate()` doesn't mind. Latencies are classic histograms in seconds,
read from the exponential ones at fixed bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from edgelift_agent.serving.slots import Generation, Slots
from edgelift_agent.telemetry.latency import LatencyRecorder, Totals

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Triton's name → what of `Totals`, and what it says.
_COUNTERS: dict[str, tuple[Callable[[Totals], float], str]] = {
    "nv_inference_request_success": (lambda t: t.ok, "Requests that the model answered."),
    "nv_inference_request_failure": (
        lambda t: t.errors,
        "Requests that the model failed on; a client's faults are not counted.",
    ),
    "nv_inference_count": (lambda t: t.ok, "Inferences made."),
    "nv_inference_exec_count": (lambda t: t.ok, "Runs of the model."),
    "nv_inference_request_duration_us": (lambda t: t.sums_us[4], "Time spent on answered requests, microseconds."),
    "nv_inference_queue_duration_us": (lambda t: t.sums_us[0], "Of it, waiting to be run, microseconds."),
    "nv_inference_compute_input_duration_us": (lambda t: t.sums_us[1], "Of it, reading inputs, microseconds."),
    "nv_inference_compute_infer_duration_us": (lambda t: t.sums_us[2], "Of it, running the model, microseconds."),
    "nv_inference_compute_output_duration_us": (lambda t: t.sums_us[3], "Of it, writing outputs, microseconds."),
}

#: Upper bounds of the exposed histogram, seconds: what a small model needs on a fast board up to ten seconds.
BOUNDS = (
    0.00003, 0.00006, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
)  # fmt: skip
_LABELS = ("model", "version", "release")


def serving_families(
    slots: Slots, recorder: LatencyRecorder, pending: int, refused: Mapping[tuple[str, ...], int]
) -> Iterator[Metric]:
    """Families of what serves.

    Args:
        slots: what serves.
        recorder: its requests.
        pending: requests under way.
        refused: `(code,)` → requests that were refused so.
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

    generations = [slot.current for name in slots.names() if (slot := slots.get(name)) and slot.current]
    # One reading of each: the families of a generation agree with each other.
    read = [(dict(zip(_LABELS, _values(g), strict=True)), g, recorder.totals(g.key)) for g in generations]
    for name, (take, text) in _COUNTERS.items():
        family = Metric(name, text, "unknown")
        for labels, _, totals in read:
            family.add_sample(name, labels, float(take(totals)))
        yield family
    yield GaugeMetricFamily("nv_inference_pending_request_count", "Requests under way.", value=float(pending))
    seconds = HistogramMetricFamily(
        "edgelift_request_seconds", "Time from a request's last byte to its answer.", labels=_LABELS
    )
    since = GaugeMetricFamily(
        "edgelift_slot_since_timestamp_seconds", "When the generation began to serve, since 1970.", labels=_LABELS
    )
    for labels, generation, totals in read:
        values = list(labels.values())
        seconds.add_metric(values, _buckets(totals), totals.total_us.total / 1e6)
        since.add_metric(values, generation.since)
    yield seconds
    yield since
    turned_away = CounterMetricFamily(
        "edgelift_requests_refused", "Requests that were answered with an error, by its code.", labels=["code"]
    )
    for words, number in refused.items():
        turned_away.add_metric(words, number)
    yield turned_away


def _values(generation: Generation) -> tuple[str, str, str]:
    key = generation.key
    return key.slot, str(key.generation), f"{key.model}@{key.version}"


def _buckets(totals: Totals) -> list[tuple[str, float]]:
    found = [(f"{bound:g}", float(totals.total_us.count_up_to(bound * 1e6))) for bound in BOUNDS]
    return [*found, ("+Inf", float(totals.total_us.count))]
