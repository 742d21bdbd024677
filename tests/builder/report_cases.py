"""Reports of builds that never ran: what a page and a verdict have to show, one of each kind."""

from __future__ import annotations

from typing import Any

from edgelift_builder.piece import LayerLoss, Range
from edgelift_builder.report.report import BuildReport, CandidateReport

_NEVER: dict[str, Any] = dict.fromkeys(
    (
        "p50_us",
        "p95_us",
        "rounds",
        "float_ratio",
        "float_ratio_low",
        "float_ratio_high",
        "load_ms",
        "peak_memory_bytes",
    )
)


def candidate(variant: str = "int8-static", runtime: str = "litert", **more: Any) -> CandidateReport:
    """One that ships first for rpi4, unmeasured; a quarter of float's size, a tenth of a point lost."""
    made = {"litert": "tflite", "onnxruntime": "onnx"}.get(runtime, runtime)
    fields: dict[str, Any] = {
        "target": "rpi4", "hardware_class": "arm64-neon", "variant": variant, "format": made, "runtime": runtime,
        "steps": [], "shipped": True, "rank": 0, "pareto": True, "unmeasured": True, "code": "", "reason": "",
        "artifact": "ab" * 32, "size_bytes": 325_000, "size_ratio": 3.9, "metric": "accuracy", "value": 0.98, "low": 0.97,
        "high": 0.99, "baseline": 0.981, "loss": 0.1, "loss_low": -0.2, "loss_high": 0.4, "unit": "points", "lost": 2,
        "gained": 1, "n": 1200, "method": "Tango", "budget": 0.5, "verdict": "holds", "samples_needed": None,
        "judgements": [], "beside": {"balanced accuracy": (0.98, 0.98)}, "worst": None, "classes": [],
        "latency": "to be measured on the device", "left_float": [], "sensitivity": [], "ranges": [], "remarks": [],
        "golden_atol": 1e-3, "golden_quantum": None, "golden_kernels_apart": None,
    }  # fmt: skip
    return CandidateReport(**(fields | _NEVER | more))


def measured(variant: str, p50_us: float, ratio: float, **more: Any) -> CandidateReport:
    """One that this machine has timed for its own class."""
    times: dict[str, Any] = {
        "p50_us": p50_us, "p95_us": 2 * p50_us, "rounds": 200, "float_ratio": ratio, "float_ratio_low": 0.9 * ratio,
        "float_ratio_high": 1.1 * ratio, "load_ms": 1.0, "peak_memory_bytes": 4_400_000, "unmeasured": False,
        "target": "x86-64-vnni", "hardware_class": "x86-64-vnni",
    }  # fmt: skip
    return candidate(variant, **(times | more))


def rejected(variant: str, code: str = "accuracy-over-budget", **more: Any) -> CandidateReport:
    """One that ships for nobody."""
    why = "It loses +2.50 points of accuracy (+1.62 to +3.83) against float, over the budget of 0.5 points."
    fields: dict[str, Any] = {
        "shipped": False, "rank": None, "pareto": False, "code": code, "reason": why, "artifact": "", "loss": 2.5,
        "loss_low": 1.62, "loss_high": 3.83,
    }  # fmt: skip
    return candidate(variant, **(fields | more))


def report(*candidates: CandidateReport, **more: Any) -> BuildReport:
    """A build of these."""
    fields: dict[str, Any] = {
        "schema": 1, "model": "digits", "version": "1", "release_counter": 1, "source": "digits.py:digits",
        "source_sha256": "0" * 64, "recipe": "cnn#0", "targets": list(dict.fromkeys(c.target for c in candidates)),
        "parameters": 315_146, "metric": "accuracy", "unit": "points", "judged": "Judged as classification.",
        "samples": 1200, "calibration_samples": 100, "held_out": True, "data_sha256": "1" * 64,
        "measured_on": "x86-64-vnni", "runtimes": {"litert": "2.0"}, "tools": {}, "remarks": [], "seconds": {"make": 1.0},
        "candidates": list(candidates),
    }  # fmt: skip
    return BuildReport(**(fields | more))


def twenty() -> BuildReport:
    """Many candidates, some in all but the same place; every sign there is."""
    found = [
        measured(f"int8-{i}", 30 + 7 * (i % 6) + i / 9, 1.5, rank=i, pareto=i % 5 == 0, loss=0.1 * (i % 4),
                 size_bytes=320_000 + 900 * i, runtime=("litert", "onnxruntime", "torchscript")[i % 3])
        for i in range(16)
    ]  # fmt: skip
    known: dict[str, Any] = {
        "target": "x86-64-vnni",
        "hardware_class": "x86-64-vnni",
        "p50_us": 60.0,
        "p95_us": 70.0,
    }
    found.append(
        measured("float32", 80, 1.0, rank=16, pareto=False, size_bytes=1_260_000, size_ratio=1.0, loss=0.0)
    )
    found.append(
        measured("int4", 40, 2.0, rank=17, code="accuracy-over-budget", reason="It loses much.", loss=1.9)
    )
    found += [rejected("int8-dynamic", **known), rejected("int2", "conversion-failed", **known)]
    return report(*found)


def detector() -> BuildReport:
    """An error in per cent, for boards that get the same, with one that gets nothing."""
    one: dict[str, Any] = {"metric": "NME", "unit": "percent", "loss": 1.14, "loss_low": -0.1, "loss_high": 1.9}
    one["budget"] = 2.0
    boards = [candidate(target=target, **one) for target in ("rpi3", "rpi4", "arm64")]
    nothing = rejected("int8-static", "not-enough-data", target="rpi5", hardware_class="arm64-dotprod")
    return report(*boards, nothing, metric="NME", unit="percent")


def long_names() -> BuildReport:
    """All that a user or a library names, as long as it may come, with layers and activations."""
    name = "a_name_that_never_ends_" * 5
    seen = Range(name, -1.0, 1.0, -2.0, 3.0, (1, 5, 9, 2))
    board: dict[str, Any] = {"target": "board-" + "x" * 60, "hardware_class": "class-" + "y" * 50}
    first = candidate(name, sensitivity=[LayerLoss(name, 0.1, True)], ranges=[seen], remarks=[name], **board)
    refused = rejected(name + "2", reason=name * 3, **board)
    return report(first, refused, model="m" * 70, source="f" * 90 + ".py:x", metric="z" * 60, remarks=["r" * 300])
