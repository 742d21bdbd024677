"""Prometheus' own judge of metrics and rules; without it a test is skipped, except in CI, where that is a failure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


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


def check_rules(file: Path) -> subprocess.CompletedProcess[str]:
    """`promtool check rules`."""
    return _run("check", "rules", str(file))
