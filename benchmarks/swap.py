"""Swaps models under an open-loop load: failures, swap times, p99 during swaps ÷ steady, memory; park mode."""

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from tests.simulators.device import Device
from tests.simulators.models import publish_onnx

from benchmarks.common import arguments, show, write
from benchmarks.load import Answer, Load, quantile_us
from edgelift_agent.latency import GenerationKey
from edgelift_agent.loading import key_of
from edgelift_agent.runtime.ort import OnnxRuntime
from edgelift_agent.serving.reaper import Reaper, return_memory
from edgelift_agent.serving.slots import Generation, Slot
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.errors import DeviceError
from edgelift_contract.manifest import parse_manifest

SLOT = "many"
BODY = json.dumps(
    {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]},
            {"name": "b", "datatype": "INT64", "shape": [1, 1], "data": [1]},
        ]
    }
).encode()


def _send(port: int, rate_hz: float, stop: object, out: object) -> None:
    """In a process of its own, so that the load's own work doesn't share an interpreter with the host."""
    load = Load(port, f"/v2/models/{SLOT}/infer", BODY, rate_hz)
    out.send(load.run(stop))  # type: ignore[attr-defined] # a pipe's end


def agent_under_load(swaps: int, rate_hz: float) -> dict[str, float]:
    """A real agent, updated through its whole path again and again, while requests come at a fixed rate."""
    host = ToyHost()
    policy = Policy(probation_s=0.05, probation_min_requests=1, max_latency_ratio=0, allow_older=True)
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), host.url, host.token)
        models = [publish_onnx(host, SLOT, "1", 1.0, policy), publish_onnx(host, SLOT, "2", 2.0, policy)]
        try:
            device.start("--real-runtimes")
            _update(host, device, models[0])
            return _measure(host, device, models, swaps, rate_hz)
        finally:
            device.stop()
            host.close()


def _measure(
    host: ToyHost, device: Device, models: list[SlotAssignment], swaps: int, rate_hz: float
) -> dict[str, float]:
    process = psutil.Process(device.process.pid)
    context = multiprocessing.get_context("spawn")
    stop, (mine, theirs) = context.Event(), context.Pipe()
    sender = context.Process(target=_send, args=(device.port, rate_hz, stop, theirs))
    sender.start()
    time.sleep(8)  # steady first: the comparison is within this run
    updates: list[tuple[float, float]] = []
    rss: list[int] = []
    for number in range(1, swaps + 1):
        began = time.time()
        _update(host, device, models[number % 2])
        updates.append((began, time.time()))
        rss.append(process.memory_info().rss)
        print(f"\rswap {number}/{swaps}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    time.sleep(4)
    stop.set()
    answers: list[Answer] = mine.recv()
    sender.join()
    records = _records(host, swaps)
    return _judge(answers, records, updates) | {
        "rss_growth": rss[-1] / rss[min(len(rss) - 1, max(2, len(rss) // 10))] - 1,
        "commit_us_p50": float(np.quantile([r.commit_us for r in records], 0.5)),
        "commit_us_p99": float(np.quantile([r.commit_us for r in records], 0.99)),
        "swaps": len(records),
    }


def _update(host: ToyHost, device: Device, wanted: SlotAssignment) -> None:
    revision = host.assign(device.name, **{SLOT: wanted})
    report = host.wait_for(device.name, lambda r: r.revision_applied >= revision, 60)
    assert report.slots[SLOT].update.outcome == "committed", report


def _records(host: ToyHost, swaps: int) -> list:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(host.of_kind("swap")) < swaps + 1:
        time.sleep(0.1)
    return host.of_kind("swap")[1:]


def _judge(answers: list[Answer], records: list, updates: list[tuple[float, float]]) -> dict[str, float]:
    """Failures, mixes and steps back, and latency in three kinds of time."""
    # Odd generations were version 1, whose first output is 2; even ones version 2, whose is 4.
    wrong = [a for a in answers if a.ok and a.value != (2.0 if a.version % 2 else 4.0)]
    back, last = 0, defaultdict(int)
    for answer in sorted(answers, key=lambda a: (a.connection, a.done)):
        back += answer.ok and answer.version < last[answer.connection]
        last[answer.connection] = max(last[answer.connection], answer.version)
    spans = [(r.at - (r.load_ms + r.warm_ms) / 1000 - 0.02, r.at + 0.05) for r in records]
    quiet_from, quiet_to = min(a.due for a in answers) + 2, updates[0][0] - 0.2
    steady = [a for a in answers if quiet_from < a.due < quiet_to or a.due > updates[-1][1] + 0.5]
    swapping = [a for a in answers if _within(a.due, spans)]
    updating = [a for a in answers if _within(a.due, updates)]
    for answer in answers:
        if not answer.ok:
            print("failed:", answer.error, file=sys.stderr)
            break
    return {
        "requests": len(answers),
        "failed": sum(not a.ok for a in answers),
        "wrong_generation": len(wrong),
        "went_back": int(back),
        "steady_p50_us": quantile_us(steady, 0.5),
        "steady_p99_us": quantile_us(steady, 0.99),
        "swap_p99_us": quantile_us(swapping, 0.99),
        "p99_ratio": quantile_us(swapping, 0.99) / quantile_us(steady, 0.99),
        "update_p99_ratio": quantile_us(updating, 0.99) / quantile_us(steady, 0.99),
        "requests_during_swaps": len(swapping),
    }


def _within(moment: float, spans: list[tuple[float, float]]) -> bool:
    return any(start <= moment <= end for start, end in spans)


def park_mode(swaps: int) -> dict[str, float]:
    """The slot itself in `park` mode: requests wait while the old model goes and the new one is loaded."""
    host = ToyHost()
    runtime, slot, reaper = OnnxRuntime(), Slot(SLOT), Reaper()
    with tempfile.TemporaryDirectory() as folder:
        ready = [_staged(host, Path(folder) / v, v) for v in ("1", "2")]
        slot.swap(_generation(runtime, ready[0], 1))
        stop, failed, waits, counted = threading.Event(), [0], [], [0]

        def requests() -> None:
            feed = {"a": np.ones((1, 3), np.float32), "b": np.ones((1, 1), np.int64)}
            while not stop.is_set():
                began = time.perf_counter()
                try:
                    with slot.lease() as generation:
                        got = generation.model.run(feed, ["sum"])["sum"][0, 0]
                    failed[0] += got != (2.0 if generation.number % 2 else 4.0)
                except (DeviceError, RuntimeError) as error:
                    failed[0] += 1
                    print("failed:", error, file=sys.stderr)
                waits.append((time.perf_counter() - began) * 1000)
                counted[0] += 1
                time.sleep(0.001)

        threads = [threading.Thread(target=requests) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, swaps + 2):
            old = slot.park()
            slot.drain(old, 10)
            old.model.close()
            return_memory()
            slot.swap(_generation(runtime, ready[(number + 1) % 2], number))
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
    reaper.stop()
    host.close()
    return {"park_requests": counted[0], "park_failed": failed[0], "park_wait_max_ms": max(waits)}


def _staged(host: ToyHost, folder: Path, version: str) -> tuple[Path, object, str]:
    wanted = publish_onnx(host, SLOT, version, float(version))
    manifest = parse_manifest(host.blobs[wanted.artifact])
    folder.mkdir()
    for entry in manifest.files:
        (folder / entry.path).write_bytes(host.blobs[entry.sha256])
    return folder, manifest, wanted.artifact


def _generation(runtime: OnnxRuntime, ready: tuple, number: int) -> Generation:
    folder, manifest, artifact = ready
    key: GenerationKey = key_of(SLOT, number, artifact, manifest)
    return Generation(key, manifest, runtime.load(folder, manifest), time.time())


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parsed = parser.parse_args()
    figures = agent_under_load(parsed.swaps, parsed.rate) | park_mode(parsed.swaps)
    bounds = {
        "failed": 0, "wrong_generation": 0, "went_back": 0, "commit_us_p99": 1000, "p99_ratio": 1.5,
        "rss_growth": 0.05, "park_failed": 0,
    }  # fmt: skip
    rows = [[name, float(value), f"≤ {bounds[name]}" if name in bounds else ""] for name, value in figures.items()]
    show(f"{parsed.swaps} swaps under {parsed.rate:g} requests/s", rows, ["figure", "measured", "bound"])
    write(parsed.json, figures)
    sys.exit(any(figures[name] > bound for name, bound in bounds.items()))


if __name__ == "__main__":
    main()
