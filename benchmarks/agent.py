"""The agent's footprint: resident memory idle and serving, CPU when idle, start-up, cost of a record, bytes of a window.

Of an agent that trusts nobody and speaks plain HTTP; `…_trusted_mb` are of one with a certificate, over HTTPS and MQTT,
whose assignments are signed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil
from tests.simulators.device import Device
from tests.simulators.models import graph_cnn, publish_onnx

from benchmarks.common import arguments, show, write
from edgelift_agent.telemetry.latency import GenerationKey, LatencyRecorder, Sample
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.histogram import Histogram


def footprint(idle_s: float) -> dict[str, float]:
    """Of a real agent process: before any model, then with onnxruntime and the reference CNN loaded."""
    host = ToyHost()
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), host.url, host.token)
        try:
            began = time.perf_counter()
            device.start(module="benchmarks.agent_process")
            startup_s = time.perf_counter() - began
            process = psutil.Process(device.process.pid)
            host.assign(device.name)
            time.sleep(3)
            idle_rss = process.memory_info().rss
            cpu_before, switches_before = process.cpu_times(), process.num_ctx_switches().voluntary
            time.sleep(idle_s)
            cpu_after = process.cpu_times()
            used = sum(cpu_after[:2]) - sum(cpu_before[:2])
            switches = process.num_ctx_switches().voluntary - switches_before
            own_mb = model_own_mb(Path(folder))
            wanted = publish_onnx(host, "cnn")
            revision = host.assign(device.name, cnn=wanted)
            host.wait_for(device.name, lambda r: r.revision_applied == revision, 60)
            time.sleep(1)
            serving_rss = process.memory_info().rss
            return {
                "rss_idle_mb": idle_rss / 1e6,
                "rss_serving_mb": serving_rss / 1e6,
                "model_own_mb": own_mb,
                "cpu_idle_pct": used / idle_s * 100,
                "wakeups_per_s": switches / idle_s,
                "startup_s": startup_s,
            }
        finally:
            device.stop()
            host.close()


_LOAD = """
import sys
import numpy as np, onnxruntime as ort
from edgelift_agent.system.memory import resident_bytes
options = ort.SessionOptions()
options.intra_op_num_threads = 1
before = resident_bytes()
session = ort.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
for _ in range(20):
    session.run(None, {"x": np.zeros((1, 1, 24, 24), np.float32)})
print((resident_bytes() - before) / 1e6)
"""


def model_own_mb(folder: Path) -> float:
    """What the model itself takes: a bare process with onnxruntime, before and after loading and running it, MB."""
    path = folder / "own.onnx"
    path.write_bytes(graph_cnn(1)[0].SerializeToString())
    done = subprocess.run([sys.executable, "-c", _LOAD, path], capture_output=True, text=True, check=True)
    return float(done.stdout)


def trusted() -> dict[str, float]:
    """The same of an agent with a certificate, to which everything comes signed; in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.trusting.footprint"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise SystemExit(f"the agent with trust could not be measured: {done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def record_ns(rounds: int = 300_000) -> float:
    """One value into one histogram, nanoseconds, the empty loop taken off."""
    histogram = Histogram()
    values = np.random.default_rng(0).lognormal(6, 0.3, rounds).tolist()
    record = histogram.record
    began = time.perf_counter()
    for value in values:
        record(value)
    with_record = time.perf_counter() - began
    began = time.perf_counter()
    for _ in values:
        pass
    return (with_record - (time.perf_counter() - began)) / rounds * 1e9


def request_record_ns(rounds: int = 100_000) -> float:
    """A whole request's five phases under the recorder's lock, nanoseconds."""
    recorder, key = LatencyRecorder(0.0), GenerationKey("cnn", 1, "a" * 64, "cnn", "1")
    sample = Sample(3.0, 20.0, 150.0, 15.0, 190.0)
    began = time.perf_counter()
    for _ in range(rounds):
        recorder.record(key, sample)
    return (time.perf_counter() - began) / rounds * 1e9


def window_bytes() -> dict[str, float]:
    """A minute at ten requests a second: one phase's histogram, and the whole window with five."""
    recorder, key = LatencyRecorder(0.0), GenerationKey("cnn", 1, "a" * 64, "cnn", "1")
    rng = np.random.default_rng(1)
    for _ in range(600):
        parts = rng.lognormal([1, 3, 5, 2.7, 5.3], 0.25)
        recorder.record(key, Sample(*parts.tolist()))
    (window,) = recorder.close_windows(60.0)
    total = window.latency_us["total"]
    return {
        "window_bytes": len(msgspec.msgpack.encode(total)),
        "window_json_bytes": len(msgspec.json.encode(total)),
        "window_all_phases_bytes": len(msgspec.json.encode(window)),
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds to watch an idle agent")
    parsed = parser.parse_args()
    figures = (
        footprint(parsed.idle)
        | trusted()
        | {
            "record_ns": record_ns(),
            "request_record_ns": request_record_ns(),
            **window_bytes(),
        }
    )
    bounds = {
        "rss_idle_mb": 50, "rss_serving_mb": 90 + figures["model_own_mb"], "rss_idle_trusted_mb": 50,
        "rss_serving_trusted_mb": 90 + figures["model_own_mb"], "cpu_idle_pct": 0.5, "record_ns": 1000, "window_bytes": 250,
    }  # fmt: skip
    rows = [
        [name, float(value), f"≤ {bounds[name]:.3g}" if name in bounds else ""] for name, value in figures.items()
    ]
    show("the agent's footprint", rows, ["figure", "measured", "bound"])
    write(parsed.json, figures)
    sys.exit(any(figures[name] > bound for name, bound in bounds.items()))


if __name__ == "__main__":
    main()
