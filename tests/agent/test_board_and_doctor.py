"""Replayed boards tell what they should; the doctor says what is wrong and what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulators.boards import ORIN, PI_4, PI_5, replay
from tests.simulators.device import Device

from edgelift_agent.config import load_config
from edgelift_agent.doctor import check_disk, check_power, check_temperature, examine
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0x0", (0, 0, 0, 0)),
        ("0x1", (0, 1, 0, 0)),
        ("0x2", (1, 0, 0, 0)),
        ("0x4", (1, 0, 0, 0)),
        ("0x8", (1, 0, 0, 0)),
        ("0x50000", (0, 0, 1, 1)),
        ("0x50005", (1, 1, 1, 1)),
        ("0xe0008", (1, 0, 1, 0)),
    ],
)
def test_every_bit_of_get_throttled(tmp_path: Path, bits: str, expected: tuple[int, ...]) -> None:
    board = replay(tmp_path, PI_4, {"vcgencmd": f"throttled={bits}\n"})
    names = ("throttled", "under_voltage", "throttled_since_boot", "under_voltage_since_boot")
    assert tuple(int(board.throttling()[name]) for name in names) == expected


def test_without_vcgencmd_the_kernel_tells_of_under_voltage(tmp_path: Path) -> None:
    assert replay(tmp_path / "4", PI_4).throttling() == {"under_voltage": 0.0}
    assert replay(tmp_path / "5", PI_5).throttling() == {"under_voltage": 1.0}
    assert replay(tmp_path / "5", PI_5).model() == "Raspberry Pi 5 Model B Rev 1.0"
    assert replay(tmp_path / "5", PI_5).readings()["soc_temp_c"] == pytest.approx(61.95)


def test_an_orin_tells_power_gpu_and_throttling(tmp_path: Path) -> None:
    readings = replay(tmp_path, ORIN).readings()
    assert readings["power_w"] == pytest.approx(6.0)
    assert readings["vdd_cpu_gpu_cv_power_w"] == pytest.approx(2.0)
    assert (readings["gpu_freq_mhz"], readings["gpu_load_pct"]) == (pytest.approx(624.75), pytest.approx(43.7))
    assert (readings["throttled"], readings["over_current"]) == (1.0, 0.0)
    assert readings["gpu_thermal_temp_c"] == pytest.approx(50.781)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert replay(tmp_path, {}).readings() == {}
    assert check_temperature(replay(tmp_path, {}).readings()).state == "ok"


def test_garbage_in_sysfs_is_left_out(tmp_path: Path) -> None:
    board = replay(tmp_path, {**PI_4, "sys/class/thermal/thermal_zone0/temp": "invalid"}, {"vcgencmd": "error=1"})
    assert "soc_temp_c" not in board.readings()


def test_the_doctor_names_heat_and_weak_power(tmp_path: Path) -> None:
    hot = replay(tmp_path / "h", {**PI_4, "sys/class/thermal/thermal_zone0/temp": "83000"})
    assert check_temperature(hot.readings()).state == "fail"
    weak = replay(tmp_path / "w", PI_4, {"vcgencmd": "throttled=0x50005"})
    finding = check_power(weak.readings())
    assert (finding.state, "stronger supply" in finding.advice) == ("fail", True)


@pytest.mark.onnx
def test_the_doctor_of_a_healthy_device(host: ToyHost, device: Device, tmp_path: Path) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for(device.name, lambda r: r.revision_applied == 1)
    findings = {f.check: f for f in examine(load_config(device.config), replay(tmp_path / "b", PI_4))}
    del findings["temperature"]  # of the machine that this runs on
    assert {f.state for f in findings.values()} <= {"ok", "warn"}
    assert "toy@1" in findings["agent"].message
    assert findings["host"].state == "ok"


def test_the_doctor_of_a_device_without_anything(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'device = "pi-1"\nstate_dir = "{tmp_path}/s"\n[host]\nurl = "http://127.0.0.1:9"\ntoken = "t"\n'
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--config", str(config), "doctor", "--json"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    findings = {f["check"]: f for f in json.loads(done.stdout)}
    assert (findings["host"]["state"], findings["agent"]["state"]) == ("fail", "fail")
    assert findings["agent"]["advice"]
    assert check_disk(load_config(config)).state in ("ok", "warn")


def by_the_book(device: Device) -> None:
    """As the unit does: the token comes by LoadCredential, to the agent's process alone."""
    credentials = device.folder / "credentials"
    credentials.mkdir(parents=True, exist_ok=True)
    (credentials / "edgelift-token").write_text(ToyHost.token + "\n")
    text = device.config.read_text()
    device.config.write_text(text.replace(f'token = "{ToyHost.token}"\n', ""))
    device.environment["CREDENTIALS_DIRECTORY"] = str(credentials)


def diagnose(device: Device) -> dict[str, dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "doctor", "--json", "--config", str(device.config)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == any(finding["state"] == "fail" for finding in findings.values())
    return findings


def test_an_install_by_the_book_has_no_red(host: ToyHost, device: Device) -> None:
    by_the_book(device)
    host.assign(device.name, toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for(device.name, lambda r: r.revision_applied == 1)
    findings = diagnose(device)
    del findings["temperature"]  # of the machine that this runs on
    assert [finding for finding in findings.values() if finding["state"] == "fail"] == []
    assert findings["host"]["state"] == "ok"
    assert "knows this device" in findings["host"]["message"]
    assert "onnxruntime 1.99.0" in findings["runtime"]["message"]  # the agent's runtimes, not the terminal's
    assert findings["degraded"]["state"] == "ok"


def test_a_stopped_install_by_the_book_blames_no_token(host: ToyHost, device: Device) -> None:
    by_the_book(device)
    findings = diagnose(device)
    assert (findings["agent"]["state"], findings["host"]["state"]) == ("fail", "warn")


def test_the_doctor_tells_what_the_agent_is_degraded_by(host: ToyHost, device: Device) -> None:
    mark = device.folder / "struck"
    device.start("--fault", "EROFS", "--at", "1", "--mark", str(mark), "--lasting")
    findings = diagnose(device)
    assert findings["degraded"]["state"] == "fail"
    assert "(read-only)" in findings["degraded"]["message"]
    mark.unlink()
    host.wait_for(device.name, lambda r: not r.degraded)
    assert diagnose(device)["degraded"]["state"] == "ok"
