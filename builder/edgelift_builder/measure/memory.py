"""What loading and running a model costs a process: time to load, growth of resident memory.

Each model in a child process of its own, so that nothing of another's is counted. The runtime's own libraries
are loaded before the count begins: a device has them once, whatever it serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from edgelift_builder import calls, data
from edgelift_builder.facts import EVALUATION
from edgelift_builder.measure.runtimes import ModelSpec, open_session

_RUNS = 5


@dataclass(frozen=True)
class Cost:
    """What loading costs. `peak_bytes` is the highest growth while loading and running, `load_ms` to first use."""

    load_ms: float
    peak_bytes: int


def cost(spec: ModelSpec, data_folder: str) -> Cost:
    """Load and run `spec` in this process, which must not have loaded it before."""
    inputs = data.load(Path(data_folder) / EVALUATION)
    samples = [calls.one(inputs, i, spec.axes) for i in range(min(_RUNS, data.length(inputs)))]
    _import(spec.runtime)
    _forget_peak()
    before = _status_bytes("VmRSS")
    begin = perf_counter()
    session = open_session(spec)
    load_ms = (perf_counter() - begin) * 1e3
    for sample in samples:
        session.run(sample)
    return Cost(load_ms, max(0, _status_bytes("VmHWM") - before))


def _import(runtime: str) -> None:
    if runtime == "onnxruntime":
        import onnxruntime  # noqa: F401 - for its cost alone
    elif runtime == "litert":
        import ai_edge_litert.interpreter  # noqa: F401 - for its cost alone
    else:
        import torch  # noqa: F401 - for its cost alone


def _forget_peak() -> None:
    try:  # "5" resets the high-water mark: man 5 proc, /proc/pid/clear_refs
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # the peak then includes the imports: too high, never too low


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0
