"""The README's first command, as a newcomer runs it."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.builder, pytest.mark.fleet, pytest.mark.timeout(1800)]
WHERE = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
ROOT = Path(__file__).parents[2]


def test_the_demo_holds_and_leaves_no_process_behind(tmp_path: Path) -> None:
    figures_file = tmp_path / "demo.json"
    # A folder of its own tells its processes from another demo's on this machine; a short one, for it holds sockets.
    with tempfile.TemporaryDirectory(prefix="edgelift-test-") as folder:
        done = subprocess.run(
            [ROOT / "scripts" / "demo", "--json", figures_file], capture_output=True, text=True,
            env={**os.environ, "COLUMNS": "200", "TMPDIR": folder},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        until(lambda: not processes_that_name(folder), "the end of every process")
        assert list(Path(folder).glob("edgelift-demo-*")) == []
    figures = json.loads(figures_file.read_text())
    assert figures["failed_requests"] == 0
    assert figures["requests"] > 500
    assert figures["transports"] == (["http", "mqtt"] if shutil.which("mosquitto", path=WHERE) else ["http"])
    assert figures["tamper_refused"] is True
    assert figures["bad_release_rolled_back"] is True
    assert {"onnx", "tflite", "torchscript"} <= set(figures["formats"])
    assert figures["windows_received"] > 0
    # What is said to have served really is what digits@1 and digits@2 hold, whichever was measured fastest.
    assert (
        figures["served_before"].startswith("float32 in ")
        and min(figures["p50_us_before"], figures["p50_us_after"]) > 0
    )
    assert f"{figures['served_before']} → {figures['served_after']}" in done.stdout
    # Progress is told as it comes, through a pipe too.
    assert "Making float32 onnx for x86-64" in done.stderr and "Waiting for both agents" in done.stdout


def processes_that_name(folder: str) -> list[list[str]]:
    """Their command lines."""
    found = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    return [words for words in found if folder in " ".join(words)]
