"""Triton's extensions of the protocol that real clients need: configuration, statistics, repository.

Sources: triton-inference-server docs, `extension_model_configuration.md`, `extension_statistics.md`,
`extension_model_repository.md`. perf_analyzer always asks for the configuration, reads every field of the
statistics without looking whether it is there, and takes versions for integers.
"""

from __future__ import annotations

import time
from typing import Any

from edgelift_agent.serving.slots import Generation, Slots
from edgelift_agent.telemetry.latency import LatencyRecorder, Totals
from edgelift_contract.manifest import DataType, TensorSpec

_CONFIG_TYPES: dict[DataType, str] = {
    "BOOL": "TYPE_BOOL", "BYTES": "TYPE_STRING", "BF16": "TYPE_BF16",
    "UINT8": "TYPE_UINT8", "UINT16": "TYPE_UINT16", "UINT32": "TYPE_UINT32", "UINT64": "TYPE_UINT64",
    "INT8": "TYPE_INT8", "INT16": "TYPE_INT16", "INT32": "TYPE_INT32", "INT64": "TYPE_INT64",
    "FP16": "TYPE_FP16", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64",
}  # fmt: skip
_BACKENDS = {"onnxruntime": "onnxruntime", "litert": "tflite", "torchscript": "pytorch"}


def model_config(generation: Generation, platform: str) -> dict[str, Any]:
    """The model's configuration. `max_batch_size` is 0: shapes are given in full, as the manifest has them."""
    manifest = generation.manifest
    return {
        "name": generation.key.slot,
        "platform": platform,
        "backend": _BACKENDS[manifest.runtime],
        "max_batch_size": 0,
        "input": [_config_tensor(spec) for spec in manifest.inputs],
        "output": [_config_tensor(spec) for spec in manifest.outputs],
        "version_policy": {"latest": {"num_versions": 1}},
        "instance_group": [{"name": generation.key.slot, "kind": "KIND_CPU", "count": 1}],
        "parameters": {"artifact": {"string_value": generation.key.artifact}},
    }


def _config_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": _CONFIG_TYPES[spec.dtype], "dims": spec.shape}


def model_statistics(generation: Generation, recorder: LatencyRecorder) -> dict[str, Any]:
    """One model's statistics since its generation began to serve; times in nanoseconds."""
    totals = recorder.totals(generation.key)
    return {
        "name": generation.key.slot,
        "version": str(generation.number),
        "last_inference": int(totals.last * 1000) if totals.last else 0,
        "inference_count": totals.ok,
        "execution_count": totals.ok,
        "inference_stats": _durations(totals),
        "batch_stats": [],
    }


def _durations(totals: Totals) -> dict[str, dict[str, int]]:
    def entry(count: int, total_us: float) -> dict[str, int]:
        return {"count": count, "ns": int(total_us * 1000)}

    none = entry(0, 0.0)
    return {
        "success": entry(totals.ok, totals.sums_us[4]),
        "fail": entry(totals.errors, totals.failed_us),
        "queue": entry(totals.ok, totals.sums_us[0]),
        "compute_input": entry(totals.ok, totals.sums_us[1]),
        "compute_infer": entry(totals.ok, totals.sums_us[2]),
        "compute_output": entry(totals.ok, totals.sums_us[3]),
        "cache_hit": none,
        "cache_miss": none,
    }


def repository_index(slots: Slots) -> list[dict[str, str]]:
    """Every slot as a model: what serves, or why nothing does."""
    index = []
    for name in slots.names():
        slot = slots.get(name)
        generation = slot.current if slot else None
        if generation is not None:
            index.append({"name": name, "version": str(generation.number), "state": "READY", "reason": ""})
        else:
            parked = slot is not None and slot.parked
            state, reason = ("LOADING", "changing its model") if parked else ("UNAVAILABLE", "no model is loaded")
            index.append({"name": name, "version": "", "state": state, "reason": reason})
    return index


def prometheus(slots: Slots, recorder: LatencyRecorder, gauges: dict[str, float], pending: int) -> str:
    """Metrics as text, in Prometheus' exposition format 0.0.4.

    Inference counters carry Triton's names, so that existing dashboards work; latencies are classic
    histograms in seconds, read from the exponential ones at fixed bounds.
    """
    lines: list[str] = []
    generations = [slot.current for name in slots.names() if (slot := slots.get(name)) and slot.current]
    for metric, kind in _COUNTERS.items():
        lines += [f"# TYPE {metric} counter"]
        lines += [f"{metric}{_labels(g)} {_counter(kind, recorder.totals(g.key)):g}" for g in generations]
    lines += ["# TYPE nv_inference_pending_request_count gauge", f"nv_inference_pending_request_count {pending}"]
    lines += ["# TYPE edgelift_request_seconds histogram"]
    for generation in generations:
        lines += _histogram(generation, recorder)
    lines += ["# TYPE edgelift_slot_since_seconds gauge"]
    lines += [f"edgelift_slot_since_seconds{_labels(g)} {g.since:.3f}" for g in generations]
    for name, value in sorted(gauges.items()):
        lines += [f"# TYPE edgelift_device_{name} gauge", f"edgelift_device_{name} {value:g}"]
    lines += ["# TYPE edgelift_scrape_time_seconds gauge", f"edgelift_scrape_time_seconds {time.time():.3f}"]
    return "\n".join(lines) + "\n"


_COUNTERS = {
    "nv_inference_request_success": "ok",
    "nv_inference_request_failure": "errors",
    "nv_inference_count": "ok",
    "nv_inference_exec_count": "ok",
    "nv_inference_request_duration_us": "4",
    "nv_inference_queue_duration_us": "0",
    "nv_inference_compute_input_duration_us": "1",
    "nv_inference_compute_infer_duration_us": "2",
    "nv_inference_compute_output_duration_us": "3",
}


def _counter(kind: str, totals: Totals) -> float:
    return totals.sums_us[int(kind)] if kind.isdigit() else float(getattr(totals, kind))


def _labels(generation: Generation, extra: str = "") -> str:
    key = generation.key
    return f'{{model="{key.slot}",version="{key.generation}",release="{key.model}@{key.version}"{extra}}}'


#: Upper bounds of the exposed histogram, seconds: 1-2.5-5 from a tenth of a millisecond to ten seconds.
_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _histogram(generation: Generation, recorder: LatencyRecorder) -> list[str]:
    histogram = recorder.totals(generation.key).total_us
    name = "edgelift_request_seconds"
    lines = []
    for bound in _BOUNDS:
        extra = f',le="{bound:g}"'
        lines.append(f"{name}_bucket{_labels(generation, extra)} {histogram.count_up_to(bound * 1e6)}")
    infinity = ',le="+Inf"'
    lines.append(f"{name}_bucket{_labels(generation, infinity)} {histogram.count}")
    lines.append(f"{name}_sum{_labels(generation)} {histogram.total / 1e6:.6f}")
    lines.append(f"{name}_count{_labels(generation)} {histogram.count}")
    return lines
