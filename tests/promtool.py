"""Prometheus' own judge of metrics and rules; without it a test is skipped, except in CI, where that is a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Triton's names, as docs/metrics.md lists them.
TRITON = {
    "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
    "nv_inference_request_duration_us", "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us",
    "nv_inference_pending_request_count",
}  # fmt: skip


def _run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        message = "promtool is not installed"
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    return subprocess.run([program, *words], input=given, capture_output=True, text=True)


def complaints(exposition: str) -> list[str]:
    """What `promtool check metrics` says of a text; a line a complaint."""
    done = _run("check", "metrics", given=exposition)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0 or said, done.returncode
    return said


def complaints_of_agent(exposition: str) -> list[str]:
    """Of an agent's text, but for Triton's names: they count microseconds, and their clients read them so."""
    return [line for line in complaints(exposition) if line.split(" ", 1)[0] not in TRITON]


def check_rules(file: Path) -> subprocess.CompletedProcess[str]:
    """`promtool check rules`."""
    return _run("check", "rules", str(file))


def check_config(file: Path) -> subprocess.CompletedProcess[str]:
    """`promtool check config`, without the files that it names."""
    return _run("check", "config", "--syntax-only", str(file))
