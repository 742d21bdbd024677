"""A process that was forked is what one that was started is: arguments, folder, files, signals, exit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forking
from tests.fleet.conftest import environment

pytestmark = pytest.mark.fleet

#: All that a process has from whoever started it, but for its number.
LOOK = """
import json, os, signal, sys
found = {
    "arguments": sys.argv, "cwd": os.getcwd(), "path": sys.path, "umask": os.umask(0),
    "environment": {k: v for k, v in os.environ.items() if k not in ("_", "OLDPWD")},
    "files": sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")),
    "signals": {n: str(signal.getsignal(n)) for n in (1, 2, 3, 10, 12, 13, 15, 17)},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "group": os.getpgid(0) == int(os.environ["EDGELIFT_TEST_GROUP"]),
    "streams": [(s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "read": sys.stdin.read(), "name": __name__,
}
print(json.dumps(found))
sys.stderr.write("caf\\xe9\\n")
sys.exit(7)
"""


def test_it_is_what_one_that_was_started_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        variables = {**environment(), "EDGELIFT_TEST_GROUP": str(os.getpgid(0))}
        words = ["-c", LOOK, "one", "t\u00e4\udcff"]
        started = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL
        )
        forked = forking.run("edgelift", words, variables, 60)
    finally:
        os.umask(before)
    assert started.returncode == forked.returncode == 7
    assert started.stderr == forked.stderr
    assert json.loads(started.stdout) == json.loads(forked.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGABRT])
def test_it_ends_by_a_signal(tmp_path: Path, number: int) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        words = ["-c", "import time; print('up', flush=True); time.sleep(3600)"]
        process = forking.Forked("edgelift", words, environment(), stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        with process.stdout as out:
            assert out.readline() == b"up\n"
            assert process.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.0)
            process.send_signal(number)
            assert process.wait() == process.poll() == -number
            assert out.read() == b""
    process.kill()  # of what has ended, nothing


def test_an_error_is_told_as_ever(tmp_path: Path) -> None:
    done = forking.run("edgelift", ["-c", "raise ValueError('no')"], environment(), 60)
    assert done.returncode == 1 and done.stderr.endswith("ValueError: no\n")


#: Prints what the libraries that tests work with change in a process's environment and would keep it from forking.
LEAVE = """
import os, sys
from tests import forking
import torch._inductor
for name in ("litert_torch", "ai_edge_quantizer", "onnxruntime", "sklearn", "torch_pruning", "onnxscript", "moto"):
    __import__(name)
print(forking.keep_from_forking({}))
"""


@pytest.mark.builder
def test_what_libraries_leave_in_a_workers_environment_keeps_nobody_from_forking() -> None:
    told = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, cwd=forking.ROOT)
    assert told.returncode == 0 and told.stdout == "set()\n", told


def test_with_other_imports_or_another_language_it_starts_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(forking.BEGAN_WITH))  # whatever ran before us here
    assert forking.may_fork({"EDGELIFT_SITE": "x", "PGPASSWORD": "x"})
    for name in ("PYTHONPATH", "PYTHONIOENCODING", "LC_ALL", "TZ", "PATH", "HTTPS_PROXY", "NO_COLOR"):
        assert not forking.may_fork({name: "x"})
