"""Triton's extensions of the protocol that real clients need: configuration, statistics, repository.

Sources: triton-inference-server docs, `extension_model_configuration.md`, `extension_statistics.md`,
`extension_model_repository.md`. perf_analyzer always asks for the configuration, reads every field of the
statistics without looking whether it is there, and takes versions for integers.
"""

from __future__ import annotations

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
