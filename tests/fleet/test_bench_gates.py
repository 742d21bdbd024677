"""`scripts/bench gates` runs and says what its JSON promises; its figures are its own business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fleet


def test_it_writes_rates_with_their_intervals_power_and_a_picture(tmp_path: Path):
    written, picture = tmp_path / "gates.json", tmp_path / "gates.svg"
    command = [sys.executable, "-m", "benchmarks.gates", "--fleets", "3", "--jobs", "1", "--json", written]
    subprocess.run([*command, "--plot", picture], check=True, cwd=Path(__file__).parents[2], capture_output=True)
    found = json.loads(written.read_text())
    for rate in found["false_alarm_rate"].values():
        assert rate["n"] == 3 and rate["low"] <= 0.01
    assert {one["slowdown"] for one in found["power"]} == {0.1, 0.15, 0.3}
    assert {one["test"] for one in found["cases"]} == {
        "gate",
        "before/after z",
        "canary/control z",
        "anytime-valid",
    }
    assert picture.read_text().startswith("<svg")
