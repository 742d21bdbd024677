"""The README's first command, as a newcomer runs it."""

import json
import subprocess
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.builder, pytest.mark.fleet, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


def test_the_demo_holds_and_leaves_no_process_behind(tmp_path: Path) -> None:
    figures_file = tmp_path / "demo.json"
    done = subprocess.run(
        [ROOT / "scripts" / "demo", "--json", figures_file], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = json.loads(figures_file.read_text())
    assert figures["failed_requests"] == 0
    assert figures["requests"] > 500
    assert figures["transports"] == ["http", "mqtt"]
    assert figures["tamper_refused"] is True
    assert figures["bad_release_rolled_back"] is True
    assert {"onnx", "tflite", "torchscript"} <= set(figures["formats"])
    assert figures["windows_received"] > 0
    left = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if "edgelift-demo-" in " ".join(p.info["cmdline"] or [])
    ]
    assert left == []
