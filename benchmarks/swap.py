"""Swaps models under an open-loop load: failures, swap times, p99 during swaps ÷ steady, memory; the same in `park`
mode; and how soon a release that fails in service is swapped back."""

import json
import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from tests.simulators.device import Device
from tests.simulators.models import publish_onnx

from benchmarks.common import arguments, show, write
from benchmarks.load import Answer, Load, quantile_us
from edgelift_agent.testing.host import ToyHost
from edgelift_contract.assignment import Policy, SlotAssignment

SLOT = "many"
PARK_FIGURES = ("requests", "failed", "wrong_generation", "went_back", "parked_swaps", "wait_max_ms")
BODY = json.dumps(
    {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]},
            {"name": "b", "datatype": "INT64", "shape": [1, 1], "data": [9]},
        ]
    }
).encode()


def _send(port: int, rate_hz: float, stop: object, out: object) -> None:
    """In a process of its own, so that the load's own work doesn't share an interpreter with the host."""
    load = Load(port, f"/v2/models/{SLOT}/infer", BODY, rate_hz)
    out.send(load.run(stop))  # type: ignore[attr-defined] # a pipe's end


def agent_under_load(swaps: int, rate_hz: float, *, park: bool = False) -> dict[str, float]:
    """A real agent, updated through its whole path again and again, while requests come at a fixed rate.

    With `park` it is told that memory is too short for two models.
    """
    host = ToyHost()
    policy = Policy(probation_s=0.05, probation_min_requests=1, max_latency_ratio=0, allow_older=True)
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), host.url, host.token, extra="memory_available_bytes = 1\n" if park else "")
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
    updates: list[tuple[float, float]] = []
    rss: list[int] = []
    with _load(device, rate_hz) as finish:
        time.sleep(8)  # steady first: the comparison is within this run
        for number in range(1, swaps + 1):
            began = time.time()
            _update(host, device, models[number % 2])
            updates.append((began, time.time()))
            rss.append(process.memory_info().rss)
            print(f"\rswap {number}/{swaps}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        time.sleep(4)
        answers = finish()
    records = _records(host, swaps)
    return _judge(answers, records, updates) | {
        "rss_growth": rss[-1] / rss[min(len(rss) - 1, max(2, len(rss) // 10))] - 1,
        "commit_us_p50": float(np.quantile([r.commit_us for r in records], 0.5)),
        "commit_us_p99": float(np.quantile([r.commit_us for r in records], 0.99)),
        "swaps": len(records),
        "parked_swaps": sum(r.mode == "park" for r in records),
        "wait_max_ms": max((a.latency_us / 1000 for a in answers if a.ok), default=0.0),
    }


@contextmanager
def _load(device: Device, rate_hz: float) -> Iterator[Callable[[], list[Answer]]]:
    """Requests at a fixed rate from a process of its own; call what it gives to end them and have the answers."""
    context = multiprocessing.get_context("spawn")
    stop, (mine, theirs) = context.Event(), context.Pipe()
    sender = context.Process(target=_send, args=(device.port, rate_hz, stop, theirs))
    sender.start()

    def finish() -> list[Answer]:
        stop.set()
        return mine.recv()

    try:
        yield finish
    finally:
        stop.set()
        sender.join(10)
        if sender.is_alive():
            sender.kill()


def _update(host: ToyHost, device: Device, wanted: SlotAssignment, outcome: str = "committed") -> None:
    revision = host.assign(device.name, **{SLOT: wanted})
    report = host.wait_for(device.name, lambda r: r.revision_applied >= revision, 60)
    assert report.slots[SLOT].update.outcome == outcome, report


def _records(host: ToyHost, swaps: int) -> list:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(host.of_kind("swap")) < swaps + 1:
        time.sleep(0.1)
    return host.of_kind("swap")[1:]


def _judge(answers: list[Answer], records: list, updates: list[tuple[float, float]]) -> dict[str, float]:
    """Failures, mixes and steps back, and latency in three kinds of time."""
    # Odd generations were version 1, whose first output is 10; even ones version 2, whose is 20.
    wrong = [a for a in answers if a.ok and a.value != (10.0 if a.version % 2 else 20.0)]
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


def swap_back(times: int, rate_hz: float) -> dict[str, float]:
    """A release that fails on every request after it passed its preflight: how long until the old one serves again."""
    good_policy = Policy(probation_s=0.05, probation_min_requests=1, max_latency_ratio=0, allow_older=True)
    bad_policy = Policy(probation_s=30.0, probation_min_requests=5, max_latency_ratio=0, allow_older=True)
    host = ToyHost()
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), host.url, host.token)
        good = publish_onnx(host, SLOT, "1", 1.0, good_policy)
        bad = [publish_onnx(host, SLOT, str(n + 2), 1.0, bad_policy, fails_from=4) for n in range(times)]
        try:
            device.start("--real-runtimes")
            _update(host, device, good)
            with _load(device, rate_hz) as finish:
                for wanted in bad:
                    _update(host, device, wanted, "rolled-back")
                answers = finish()
        finally:
            device.stop()
            host.close()
    gaps, began = [], 0.0
    for answer in sorted(answers, key=lambda a: a.done):
        if not answer.ok and not began:
            began = answer.done
        elif answer.ok and began:
            gaps.append(answer.done - began)
            began = 0.0
    return {"swap_backs": len(gaps), "swap_back_s_max": max(gaps, default=99.0)}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parsed = parser.parse_args()
    figures = agent_under_load(parsed.swaps, parsed.rate)
    parked = agent_under_load(parsed.swaps, parsed.rate, park=True)
    figures |= {f"park_{name}": parked[name] for name in PARK_FIGURES}
    figures |= swap_back(max(3, parsed.swaps // 10), parsed.rate)
    bounds = {
        "failed": 0, "wrong_generation": 0, "went_back": 0, "commit_us_p99": 1000, "p99_ratio": 1.5,
        "rss_growth": 0.05, "park_failed": 0, "park_wrong_generation": 0, "swap_back_s_max": 1.0,
    }  # fmt: skip
    rows = [[name, float(value), f"≤ {bounds[name]}" if name in bounds else ""] for name, value in figures.items()]
    show(f"{parsed.swaps} swaps under {parsed.rate:g} requests/s", rows, ["figure", "measured", "bound"])
    write(parsed.json, figures)
    sys.exit(any(figures[name] > bound for name, bound in bounds.items()))


if __name__ == "__main__":
    main()
