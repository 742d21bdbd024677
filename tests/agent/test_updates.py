"""Whole updates with a real agent process, a real host over HTTP, and models that behave as told."""

import signal
import time
from collections.abc import Callable

import pytest
import requests
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.manifest import Budgets
from edgelift_contract.report import Report

LONG = Policy(probation_s=600)
#: For models that answer all the while: what medians of microseconds do on a busy machine is not the point there.
QUICK_AND_DEAF_TO_LATENCY = Policy(probation_s=0.3, max_latency_ratio=0)


def ended(version: str, slot: str = "toy") -> Callable[[Report], bool]:
    """The update to `version` came to an end."""

    def check(report: Report) -> bool:
        update = report.slots[slot].update if slot in report.slots else None
        return update is not None and update.version == version and update.outcome != "in-progress"

    return check


def observing(version: str) -> Callable[[Report], bool]:
    return lambda r: "toy" in r.slots and r.slots["toy"].state == "observing" and r.slots["toy"].version == version


def outcome(host: ToyHost, device: Device, version: str) -> tuple[str, str, str]:
    """(outcome, code, what serves) once the update to `version` has ended."""
    report = host.wait_for(device.name, ended(version))
    slot = report.slots["toy"]
    assert slot.update is not None
    return slot.update.outcome, slot.update.code, slot.version


def serve_first(host: ToyHost, device: Device) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=1)))
    device.start()
    assert outcome(host, device, "1") == ("committed", "", "1")


def test_first_install_and_update(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    assert device.answer() == 1
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert device.answer() == 2
    swaps = wait_items(host, "swap", 2)
    assert [(s.generation_from, s.generation_to, s.dropped, s.reason) for s in swaps] == [
        (0, 1, 0, "update"),
        (1, 2, 0, "update"),
    ]


def test_a_report_that_the_host_refused_is_sent_again_without_waiting_for_the_next_change(
    host: ToyHost, device: Device
) -> None:
    serve_first(host, device)
    host.faults.deaf = 3
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    # The link's other half works all along: nothing but the uplink's own retry can bring the report.
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert host.faults.deaf == 0 and len(wait_items(host, "swap", 2)) == 2


def wait_items(host: ToyHost, kind: str, count: int) -> list:
    until(lambda: len(host.of_kind(kind)) >= count, f"{count} of {kind}")
    return host.of_kind(kind)


def test_the_same_assignment_twice_does_nothing(host: ToyHost, device: Device) -> None:
    wanted = host.publish("1", ToyModelFile())
    host.assign(device.name, toy=wanted)
    device.start()
    outcome(host, device, "1")
    generation = device.status()["report"]["slots"]["toy"]["generation"]
    host.assign(device.name, toy=wanted)
    host.wait_for(device.name, lambda r: r.revision_applied == 2)
    assert device.status()["report"]["slots"]["toy"]["generation"] == generation


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


def test_a_cut_link_is_tried_again_and_resumes(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.faults.cut_at, host.faults.cuts = 70_000, 3
    before = host.served_bytes
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), padding=400_000))
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert host.served_bytes - before < 1.5 * 400_000


def test_errors_in_probation_swap_back(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    bad = ToyModelFile(scale=2, on_run="fail", only_in_service=True, after=10)
    host.assign(device.name, toy=host.publish("2", bad, policy=Policy(probation_s=600, probation_min_requests=5)))
    host.wait_for(device.name, observing("2"))
    until(lambda: device.answer() == 1, "the old model's answer")
    assert outcome(host, device, "2") == ("rolled-back", "probation-errors", "1")
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


def test_a_newer_assignment_supersedes_one_that_is_being_fetched(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.faults.held = True
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), padding=3_000_000))
    host.wait_for(device.name, lambda r: r.slots["toy"].state == "updating")
    newer = host.assign(device.name, toy=host.publish("3", ToyModelFile(scale=3)))
    host.wait_for(device.name, lambda r: r.revision_seen == newer)
    assert device.answer() == 1
    host.faults.held = False
    assert outcome(host, device, "3") == ("committed", "", "3")
    assert device.answer() == 3


def test_a_newer_assignment_ends_a_probation(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=LONG))
    host.wait_for(device.name, observing("2"))
    host.assign(device.name, toy=host.publish("3", ToyModelFile(scale=3)))
    assert outcome(host, device, "3") == ("committed", "", "3")


def test_two_slots_update_independently(host: ToyHost, device: Device) -> None:
    one, two = host.publish("1", ToyModelFile(scale=1)), host.publish("1", ToyModelFile(scale=5), model="other")
    host.assign(device.name, toy=one, other=two)
    device.start()
    host.wait_for(device.name, ended("1", "toy"))
    host.wait_for(device.name, ended("1", "other"))
    host.faults.held = True
    slow = host.publish("2", ToyModelFile(scale=2), padding=2_000_000)
    host.assign(device.name, toy=slow, other=two)
    host.wait_for(device.name, lambda r: r.slots["toy"].state == "updating")
    assert (device.answer("toy"), device.answer("other")) == (1, 5)
    host.faults.held = False
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert (device.answer("toy"), device.answer("other")) == (2, 5)


def test_a_slot_taken_out_of_the_assignment_is_emptied(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.assign(device.name)
    host.wait_for(device.name, lambda r: "toy" not in r.slots)
    assert device.infer([1, 1, 1, 1]).status_code == 404
    assert not list((device.state / "artifacts").iterdir())
    assert not list((device.state / "blobs").iterdir())


def test_rollback_by_hand_pins_and_says_so(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    outcome(host, device, "2")
    assert "toy@1" in device.order("rollback")
    assert device.answer() == 1
    host.assign(device.name, toy=host.publish("3", ToyModelFile(scale=3)))
    assert outcome(host, device, "3") == ("refused", "pinned", "1")
    assert host.last(device.name).slots["toy"].state == "pinned"
    device.order("unpin")
    assert outcome(host, device, "3")[2] in ("1", "3")
    host.wait_for(device.name, lambda r: r.slots["toy"].version == "3" and r.slots["toy"].state == "serving")


def test_a_restart_serves_what_was_committed_without_the_host(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    assert device.stop() == 0
    host.faults.down = True
    device.start()
    assert device.answer() == 1


def test_a_clean_stop_in_probation_resumes_it(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), policy=Policy(probation_s=2.0)))
    # On a busy machine the report of a probation of two seconds may come with its end.
    host.wait_for(device.name, lambda r: observing("2")(r) or ended("2")(r))
    assert device.stop() == 0
    device.start()
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert host.last(device.name).slots["toy"].update.attempts == 1


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


def test_host_down_at_start_is_waited_for(host: ToyHost, device: Device) -> None:
    host.faults.down = True
    device.start()
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    time.sleep(0.5)
    host.faults.down = False
    assert outcome(host, device, "1") == ("committed", "", "1")


def test_once_updates_and_ends(host: ToyHost, device: Device) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start("--once", wait=False)
    assert device.process.wait(LONG_S) == 0
    assert outcome(host, device, "1") == ("committed", "", "1")
    assert wait_items(host, "swap", 1)


def test_windows_reach_the_host_in_probation_and_count_every_request(host: ToyHost, tmp_path) -> None:
    device = Device(
        tmp_path / "d", host.url, host.token, extra="[telemetry]\nwindow_s = 0.5\npublish_interval_s = 0.5\n"
    )
    try:
        serve_first(host, device)
        for _ in range(25):
            device.answer()
        until(lambda: sum(w.ok for w in host.of_kind("window")) >= 25, "every request in a window")
        windows = host.of_kind("window")
        assert sum(w.ok for w in windows) == 25
        assert {"queue", "decode", "infer", "encode", "total"} <= set(windows[0].latency_us)
        assert host.of_kind("gauges")
    finally:
        device.stop()


@pytest.mark.parametrize("offset_s", [-1.7e9, -3.2e7, 3.2e8], ids=["1970", "a year back", "ten years on"])
def test_a_wrong_clock_changes_nothing_that_is_decided(host: ToyHost, device: Device, offset_s: float) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=1)))
    device.start("--clock-offset-s", str(offset_s))
    assert outcome(host, device, "1") == ("committed", "", "1")
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    assert outcome(host, device, "2") == ("committed", "", "2")
    device.stop()
    device.start()  # and the clock was set right in between
    assert device.answer() == 2
    host.assign(device.name, toy=host.publish("3", ToyModelFile(scale=3)))
    assert outcome(host, device, "3") == ("committed", "", "3")


def test_a_model_that_does_not_fit_beside_the_old_one_is_parked_for(host: ToyHost, tmp_path) -> None:
    """The device is told that only little memory is free: less than the candidate's measured peak."""
    device = Device(tmp_path / "d", host.url, host.token, extra="memory_available_bytes = 30000000\n")
    try:
        serve_first(host, device)
        large = ToyModelFile(scale=2, leak_mb=64)
        host.assign(device.name, toy=host.publish("2", large, policy=QUICK_AND_DEAF_TO_LATENCY))
        answers = []
        while not ended("2")(host.last(device.name)):
            answers.append(device.answer())
        assert outcome(host, device, "2") == ("committed", "", "2")
        assert None not in answers
        swap = wait_items(host, "swap", 2)[1]
        assert (swap.mode, swap.dropped) == ("park", 0)
        # A park whose new model can't be loaded in the end brings the old one back.
        bad = ToyModelFile(scale=3, leak_mb=64, on_load="fail", only_in_service=True)
        host.assign(device.name, toy=host.publish("3", bad))
        assert outcome(host, device, "3")[0] == "rolled-back"
        assert device.answer() == 2
    finally:
        device.stop(signal.SIGKILL)


#: Runs a script whose agent tries candidates at its own niceness, as the tests' agent does: see `testing.agent`.
IMPATIENT = """
import os, runpy, sys
from edgelift_agent.app import Agent
Agent.__init__.__kwdefaults__["preflight_nice"] = os.getpriority(os.PRIO_PROCESS, 0)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.onnx
def test_the_camera_loop_sees_every_frame_answered_through_an_update(host: ToyHost, device: Device) -> None:
    import os
    import subprocess
    import sys
    from pathlib import Path

    from tests.simulators.models import publish_onnx

    def answered_by(generation: int) -> bool:
        return any(window.generation == generation and window.ok for window in host.of_kind("window"))

    extra = "preflight_timeout_s = 600\n[telemetry]\nwindow_s = 0.5\npublish_interval_s = 0.5\n"
    device.config.write_text(device.config.read_text() + extra)
    host.assign(device.name, cnn=publish_onnx(host, "cnn", "1", policy=QUICK_AND_DEAF_TO_LATENCY))
    example = Path(__file__).parents[2] / "agent" / "examples" / "camera_loop.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    loop = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, str(example), str(device.config), "cnn", "--fps", "50", "--seconds", "3600"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        host.wait_for(device.name, ended("1", "cnn"))
        until(lambda: answered_by(1), "a frame before the update")
        host.assign(device.name, cnn=publish_onnx(host, "cnn", "2", policy=QUICK_AND_DEAF_TO_LATENCY))
        host.wait_for(device.name, ended("2", "cnn"))
        until(lambda: answered_by(2), "a frame after the update")
        dropped = wait_items(host, "swap", 2)[1].dropped  # sent by the loop's own agent, so before that ends
        loop.send_signal(signal.SIGINT)
        out, errors = loop.communicate(timeout=LONG_S)
    finally:
        loop.kill()
        loop.wait()
    assert loop.returncode == 0, errors
    frames = {int(line.split()[1].rstrip(":")): int(line.split()[2]) for line in out.splitlines()}
    assert set(frames) == {1, 2}
    assert dropped == 0
