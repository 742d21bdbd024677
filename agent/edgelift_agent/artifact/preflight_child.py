"""The child process of `preflight`: loads one artifact, runs its goldens, measures, prints `begun` and one JSON line.

Run as `python -m edgelift_agent.artifact.preflight_child FOLDER KERNELS`. It may crash or hang: its
parent expects that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from edgelift_agent.artifact.goldens import check_goldens
from edgelift_agent.artifact.preflight import BEGUN, ChildReply, PreflightResult
from edgelift_agent.artifact.store import MANIFEST_FILE
from edgelift_agent.ports import LoadedModel, Runtime
from edgelift_agent.runtime import all_runtimes, pick
from edgelift_agent.runtime.tensors import to_array
from edgelift_agent.system.memory import peak_resident_bytes, resident_bytes
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.golden import Golden, parse_goldens, tolerance_key
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import parse_manifest

#: Latency is measured over this many warm runs, or for this long, whichever ends first.
RUNS, SECONDS = 200, 2.0
MIN_RUNS = 50


def try_artifact(folder: Path, kernels: str, runtimes: dict[str, Runtime]) -> PreflightResult:
    """Load, check, measure. Raises as `Preflight.run` does, but for what only a parent can see."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    goldens = parse_goldens((folder / manifest.goldens.path).read_bytes())
    runtime = pick(runtimes, manifest.runtime)
    before = resident_bytes()
    started = time.perf_counter()
    model = runtime.load(folder, manifest)
    _run(model, goldens[0])
    load_ms = (time.perf_counter() - started) * 1000
    key = tolerance_key(kernels, manifest.runtime, runtime.version() or "", manifest.options)
    error = check_goldens(model, goldens, manifest.goldens.tolerance, key=key)
    latency = _measure(model, goldens)
    peak = peak_resident_bytes()
    return PreflightResult(
        load_ms=load_ms, golden_max_error=error, latency_us=latency.to_data(), peak_bytes=max(0, peak - before)
    )


def _measure(model: LoadedModel, goldens: list[Golden]) -> Histogram:
    inputs = [_inputs(golden) for golden in goldens]
    for feed in inputs[:5]:
        model.run(feed)
    histogram = Histogram()
    deadline = time.perf_counter() + SECONDS
    for number in range(RUNS):
        if number >= MIN_RUNS and time.perf_counter() > deadline:
            break
        started = time.perf_counter()
        model.run(inputs[number % len(inputs)])
        histogram.record((time.perf_counter() - started) * 1e6)
    return histogram


def _inputs(golden: Golden) -> dict[str, Any]:
    return {tensor.name: to_array(tensor) for tensor in golden.inputs}


def _run(model: LoadedModel, golden: Golden) -> None:
    model.run(_inputs(golden))


def main(runtimes: dict[str, Runtime]) -> None:
    """Speak with the parent: two lines on standard output, exit 0 whatever the verdict."""
    folder, kernels = Path(sys.argv[1]), sys.argv[2]
    sys.stdout.buffer.write(BEGUN + b"\n")
    sys.stdout.buffer.flush()
    try:
        reply = ChildReply(result=try_artifact(folder, kernels, runtimes))
    except EdgeliftError as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__module__ == EdgeliftError.__module__)
        reply = ChildReply(kind=kind, code=error.code, message=error.message)
    except MemoryError:
        reply = ChildReply(
            kind="DeviceError", code="no-memory", message="There is not enough memory for the model."
        )
    except Exception as error:  # noqa: BLE001 - whatever the model's code raises is its refusal
        reply = ChildReply(
            kind="ContractError",
            code="load-failed",
            message=f"The model failed its preflight: {type(error).__name__}: {error}",
        )
    sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")


if __name__ == "__main__":
    main(all_runtimes())
