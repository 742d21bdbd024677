"""Whole updates with a real agent process, a real host over HTTP, and models that behave as told."""

import time

import pytest
from tests.simulators.device import Device
from tests.simulators.updates import LONG, ended, observing, outcome, serve_first, wait_items
from tests.waiting import LONG_S, until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy

PREPARING = ("fetching", "verifying", "staging", "preflight")


def phases(host: ToyHost, device: Device) -> dict[str, float]:
    """How long each took, of the last update."""
    update = host.last(device.name).slots["toy"].update
    assert update is not None and all(seconds >= 0 for seconds in update.took_s.values())
    return update.took_s


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
    took = phases(host, device)
    assert set(took) == {*PREPARING, "swapping", "observing", "committing", "reporting"}
    assert took["preflight"] >= swaps[1].preflight_ms / 1000 - 0.01


def test_a_report_that_the_host_refused_is_sent_again_without_waiting_for_the_next_change(
    host: ToyHost, device: Device
) -> None:
    serve_first(host, device)
    host.faults.deaf = 3
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2)))
    # The link's other half works all along: nothing but the uplink's own retry can bring the report.
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert host.faults.deaf == 0 and len(wait_items(host, "swap", 2)) == 2


def test_the_same_assignment_twice_does_nothing(host: ToyHost, device: Device) -> None:
    wanted = host.publish("1", ToyModelFile())
    host.assign(device.name, toy=wanted)
    device.start()
    outcome(host, device, "1")
    generation = device.status()["report"]["slots"]["toy"]["generation"]
    host.assign(device.name, toy=wanted)
    host.wait_for(device.name, lambda r: r.revision_applied == 2)
    assert device.status()["report"]["slots"]["toy"]["generation"] == generation


def test_a_cut_link_is_tried_again_and_resumes(host: ToyHost, device: Device) -> None:
    serve_first(host, device)
    host.faults.cut_at, host.faults.cuts = 70_000, 3
    before = host.served_bytes
    host.assign(device.name, toy=host.publish("2", ToyModelFile(scale=2), padding=400_000))
    assert outcome(host, device, "2") == ("committed", "", "2")
    assert host.served_bytes - before < 1.5 * 400_000


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
