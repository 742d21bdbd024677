"""The suite holds however it was started: each test here starts pytest in odd surroundings and looks from inside."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import surroundings

ROOT = Path(__file__).parents[1]


def spoil() -> None:
    """What a background job of a script, under `nohup`, in somebody's shell, hands down."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))


ODD = {
    "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE", "TZ": "Pacific/Chatham", "COLUMNS": "40", "NO_COLOR": "1",
    "http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "EDGELIFT_SITE": "/nowhere",
    "EDGELIFT_DEBUG": "1", "PYTHONHASHSEED": "7", "XDG_CACHE_HOME": "/nowhere", "OMP_NUM_THREADS": "7",
}  # fmt: skip


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "worker"])
def test_whatever_the_suite_was_started_in_its_tests_find_the_same(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    if workers:
        pytest.importorskip("xdist", reason="the device's tests run without workers")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *workers, "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}",
         f"{__file__}::test_a_process_inherits_what_a_test_needs"],
        cwd=ROOT, env={**os.environ, **ODD}, preexec_fn=spoil, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_process_inherits_what_a_test_needs(tmp_path: Path) -> None:
    code = (
        "import os, resource, signal, sys, time, json\n"
        "ignored = [s.name for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) "
        "if signal.getsignal(s) is signal.SIG_IGN]\n"
        "blocked = sorted(s.name for s in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "open('made', 'w').close()\n"
        "print(json.dumps([ignored, blocked, os.stat('made').st_mode & 0o777, time.tzname[0],"
        " resource.getrlimit(resource.RLIMIT_NOFILE)[0], sys.getfilesystemencoding()]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    room = min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert json.loads(done.stdout) == [[], [], 0o644, "UTC", room, "utf-8"]
    left = set(os.environ) & (set(ODD) - {"LC_ALL", "TZ", "OMP_NUM_THREADS"})
    assert left == set() and os.environ["OMP_NUM_THREADS"] == "1"


def test_what_was_found_is_kept_for_pip() -> None:
    assert surroundings.found()["PATH"] == os.environ["PATH"]
