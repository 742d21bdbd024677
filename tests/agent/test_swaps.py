"""Nobody who asks in a swap goes without an answer: when two models don't fit in memory, and in a user's own loop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulators.device import Device
from tests.simulators.updates import QUICK_AND_DEAF_TO_LATENCY, ended, outcome, serve_first, wait_items
from tests.waiting import LONG_S, until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile


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
