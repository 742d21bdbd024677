"""Releases that are wrong, in preflight or only in service: the old model goes on serving and the host is told why."""

import signal

import pytest
import requests
from tests.simulators.device import Device
from tests.simulators.updates import LONG, observing, outcome, serve_first
from tests.waiting import LONG_S, until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.manifest import Budgets

REFUSED = {
    "wrong goldens": (ToyModelFile(scale=2), {"golden_offset": 1.0}, "golden-mismatch"),
    "crash on load": (ToyModelFile(scale=2, on_load="crash"), {}, "preflight-crashed"),
    "crash on run": (ToyModelFile(scale=2, on_run="crash"), {}, "preflight-crashed"),
    "hang": (ToyModelFile(scale=2, on_run="hang"), {}, "preflight-hung"),
    "raises": (ToyModelFile(scale=2, on_run="fail"), {}, "load-failed"),
    "NaN": (ToyModelFile(scale=2, on_run="nan"), {}, "golden-mismatch"),
    "too slow": (
        ToyModelFile(scale=2, delay_ms=20),
        {"budgets": Budgets(latency_p95_ms=5)},
        "latency-over-budget",
    ),
    "too large": (
        ToyModelFile(scale=2, leak_mb=200),
        {"budgets": Budgets(peak_memory_bytes=100 << 20)},
        "memory-over-budget",
    ),
    "other hardware": (ToyModelFile(scale=2), {"hardware_class": "jetson-maxwell"}, "wrong-hardware-class"),
    "older": (ToyModelFile(scale=2), {"counter": 0}, "older-release"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_release_is_refused_and_the_old_one_goes_on_serving(host: ToyHost, tmp_path, case: str) -> None:
    file, options, code = REFUSED[case]
    device = Device(tmp_path / "d", host.url, host.token, extra="preflight_timeout_s = 600\n")
    try:
        serve_first(host, device)
        if case == "hang":
            # Only the hanging one should meet a short limit: on a busy machine a good one may take long.
            device.stop()
            device.config.write_text(device.config.read_text().replace("timeout_s = 600", "timeout_s = 3"))
            device.start()
        host.assign(device.name, toy=host.publish("2", file, **options))
        assert outcome(host, device, "2") == ("refused", code, "1")
        assert device.answer() == 1
        assert device.status()["report"]["slots"]["toy"]["generation"] == 1
    finally:
        device.stop(signal.SIGKILL)


def test_a_tampered_blob_is_refused_and_the_host_is_told_why(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    wanted = host.publish("2", ToyModelFile(scale=2), padding=200_000)
    largest = max(host.blobs, key=lambda sha: len(host.blobs[sha]))
    host.faults.tamper.add(largest)
    host.assign(device.name, toy=wanted)
    assert outcome(host, device, "2") == ("refused", "digest-mismatch", "1")
    assert device.answer() == 1
    told = ("update-refused", "digest-mismatch")
    until(lambda: told in [(event.kind, event.code) for event in host.of_kind("event")], "the refusal's event")


def test_errors_in_probation_swap_back(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    bad = ToyModelFile(scale=2, on_run="fail", only_in_service=True, after=10)
    host.assign(device.name, toy=host.publish("2", bad, policy=Policy(probation_s=600, probation_min_requests=5)))
    host.wait_for(device.name, observing("2"))
    until(lambda: device.answer() == 1, "the old model's answer")
    assert outcome(host, device, "2") == ("rolled-back", "probation-errors", "1")
    update = host.last(device.name).slots["toy"].update
    assert update is not None and {"swapping", "observing", "rolling-back"} < set(update.took_s)
    assert device.answer() == 1
    assert device.status()["report"]["slots"]["toy"]["generation"] == 3


def test_slowness_in_probation_swaps_back(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    for _ in range(30):
        device.answer()
    slow = host.publish("2", ToyModelFile(scale=2, delay_ms=30), policy=LONG)
    host.assign(device.name, toy=slow)
    host.wait_for(device.name, observing("2"))
    until(lambda: device.answer() == 1, "the old model's answer")
    assert outcome(host, device, "2") == ("rolled-back", "probation-latency", "1")


def test_a_crash_in_probation_rolls_back_and_is_tried_again(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=LONG))
    for attempt in (1, 2):
        host.wait_for(
            device.name,
            lambda r, n=attempt: observing("2")(r) and r.slots["toy"].update.attempts == n,
        )
        device.stop(signal.SIGKILL)
        device.start()
    assert outcome(host, device, "2") == ("rolled-back", "crashed-in-service", "1")
    assert device.answer() == 1


def test_a_model_that_crashes_in_service_after_commit_gives_way_after_two_tries(
    host: ToyHost, device: Device
) -> None:
    serve_first(host, device)
    bad = ToyModelFile(scale=2, on_run="crash", only_in_service=True, after=6)
    host.assign(device.name, toy=host.publish("2", bad))
    assert outcome(host, device, "2") == ("committed", "", "2")
    restarts = 0
    while restarts < 6:
        try:
            if device.answer() == 1:
                break
        except requests.RequestException:
            assert device.process.wait(LONG_S) == -signal.SIGSEGV
            device.start()
            restarts += 1
    assert device.answer() == 1
    assert 2 <= restarts <= 3
    host.wait_for(device.name, lambda r: r.slots["toy"].update.code == "crashed-in-service")
