"""Metrics as text, in Prometheus' exposition format 0.0.4.

Inference counters carry Triton's names, so that existing dashboards work; latencies are classic histograms in
seconds, read from the exponential ones at fixed bounds. Numbers keep every digit that they have: a rate is a
difference of two readings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from edgelift_agent.serving.slots import Generation, Slots
from edgelift_agent.telemetry.latency import LatencyRecorder, Totals
from edgelift_contract.report import Degradation

#: Triton's name → what of `Totals`, and what it says.
_COUNTERS = {
    "nv_inference_request_success": ("ok", "Requests that the model answered."),
    "nv_inference_request_failure": (
        "errors",
        "Requests that the model failed on; a client's faults are not counted.",
    ),
    "nv_inference_count": ("ok", "Inferences made."),
    "nv_inference_exec_count": ("ok", "Runs of the model."),
    "nv_inference_request_duration_us": ("4", "Time spent on answered requests, microseconds."),
    "nv_inference_queue_duration_us": ("0", "Of it, waiting to be run, microseconds."),
    "nv_inference_compute_input_duration_us": ("1", "Of it, reading inputs, microseconds."),
    "nv_inference_compute_infer_duration_us": ("2", "Of it, running the model, microseconds."),
    "nv_inference_compute_output_duration_us": ("3", "Of it, writing outputs, microseconds."),
}

#: Upper bounds of the exposed histogram, seconds: 1-2.5-5 from a tenth of a millisecond to ten seconds.
_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def prometheus(
    slots: Slots,
    recorder: LatencyRecorder,
    gauges: Mapping[str, float],
    pending: int,
    degraded: Sequence[Degradation] = (),
) -> str:
    """Everything that the agent exposes.

    Args:
        slots: what serves.
        recorder: its requests.
        gauges: of the machine, as `soc_temp_c` → 61.5.
        pending: requests under way.
        degraded: what is broken around the agent.
    """
    generations = [slot.current for name in slots.names() if (slot := slots.get(name)) and slot.current]
    lines: list[str] = []
    for name, (kind, text) in _COUNTERS.items():
        lines += _head(name, "counter", text)
        lines += [f"{name}{_labels(g)} {_number(_counter(kind, recorder.totals(g.key)))}" for g in generations]
    lines += _head("nv_inference_pending_request_count", "gauge", "Requests under way.")
    lines += [f"nv_inference_pending_request_count {pending}"]
    lines += _head(
        "edgelift_request_seconds", "histogram", "Time from a request's last byte to its answer, seconds."
    )
    for generation in generations:
        lines += _histogram(generation, recorder)
    lines += _head(
        "edgelift_slot_since_seconds", "gauge", "When the generation began to serve, seconds since 1970."
    )
    lines += [f"edgelift_slot_since_seconds{_labels(g)} {_number(g.since)}" for g in generations]
    lines += _head("edgelift_degraded", "gauge", "1 for each part of the agent that lives with a fault around it.")
    lines += [f'edgelift_degraded{{part="{_text(d.part)}",code="{_text(d.code)}"}} 1' for d in degraded]
    for name, value in sorted(gauges.items()):
        lines += _head(f"edgelift_device_{name}", "gauge", f"The device's {name.replace('_', ' ')}.")
        lines += [f"edgelift_device_{name} {_number(value)}"]
    lines += _head("edgelift_scrape_time_seconds", "gauge", "The device's clock, seconds since 1970.")
    lines += [f"edgelift_scrape_time_seconds {_number(time.time())}"]
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _number(value: float) -> str:
    """Every digit, and no exponent for a whole number: the shortest form that reads back as the same value."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**63 else repr(float(value))


def _counter(kind: str, totals: Totals) -> float:
    return totals.sums_us[int(kind)] if kind.isdigit() else float(getattr(totals, kind))


def _labels(generation: Generation, extra: str = "") -> str:
    key = generation.key
    release = _text(f"{key.model}@{key.version}")
    return f'{{model="{_text(key.slot)}",version="{key.generation}",release="{release}"{extra}}}'


def _text(value: str) -> str:
    """As a label's value."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _histogram(generation: Generation, recorder: LatencyRecorder) -> list[str]:
    histogram = recorder.totals(generation.key).total_us
    name = "edgelift_request_seconds"
    lines = []
    for bound in _BOUNDS:
        extra = f',le="{bound:g}"'
        lines.append(f"{name}_bucket{_labels(generation, extra)} {histogram.count_up_to(bound * 1e6)}")
    infinity = ',le="+Inf"'
    lines.append(f"{name}_bucket{_labels(generation, infinity)} {histogram.count}")
    lines.append(f"{name}_sum{_labels(generation)} {_number(histogram.total / 1e6)}")
    lines.append(f"{name}_count{_labels(generation)} {histogram.count}")
    return lines
