"""`scripts/bench trust` runs, and says what its JSON promises; its figures are its own business."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.fleet, pytest.mark.usefixtures("mosquitto_program")]


def test_it_writes_what_trust_costs_and_that_attacks_are_refused(tmp_path: Path) -> None:
    written = tmp_path / "trust.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.trust",
        "--times",
        "3",
        "--enrolments",
        "1",
        "--json",
        str(written),
    ]
    done = subprocess.run(
        [*command, "--attacks", "test_missing_nonce.py"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    found = json.loads(written.read_text())
    assert found["artifacts"] == 4 and found["verify_cpu_ms"] > 0 and found["verify_rss_mb"] > 0
    assert found["bundle_bytes"] > 1000 and found["sign_cpu_ms"] > 0
    assert found["enrol_s"] > 0 and found["requests"] > 100 and found["requests_failed"] == 0
    assert found["attack_files"] == 1 and found["attacks"] == found["refused"] == 8
    assert "trust" in done.stdout
