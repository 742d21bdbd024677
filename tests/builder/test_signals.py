"""A build that is told to end does so at any moment, says so by its exit code, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.signals import MOMENTS, ROOT, SIGNALS, Build, Moment, end_at

from tests.builder import files
from tests.builder.conftest import TINY

pytestmark = [pytest.mark.builder, pytest.mark.timeout(600)]

#: One of each stage in every run of the suite; all of them in the slow one.
ONE_OF_EACH = {Moment("Running tiny in", 0.2), Moment("Making float32", 1.0), Moment("Measuring", 0.1)}


@pytest.mark.parametrize(
    ("turn", "moment"),
    [
        pytest.param(n, m, id=str(m), marks=() if m in ONE_OF_EACH else pytest.mark.slow)
        for n, m in enumerate(MOMENTS)
    ],
)
def test_at_every_stage(tmp_path: Path, turn: int, moment: Moment) -> None:
    number = SIGNALS[turn % 3]
    ended = end_at(tmp_path, moment, number, group=turn % 2 == 0)
    assert not ended.wrong(number)


#: Sends a signal from inside, at the n-th time that Python is about to do one of these: no clock decides the moment.
AT_EVENT = """
import os, sys
seen = 0
def hook(event, args):
    global seen
    if event in {kinds!r} and "edgelift_builder.build" in sys.modules:
        seen += 1
        if seen == {nth}:
            os.kill(os.getpid(), {number})
sys.addaudithook(hook)
"""
DISK_AND_PROCESS = {"os.mkdir", "os.rename", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "subprocess.Popen"}


@pytest.mark.parametrize("kind", sorted(DISK_AND_PROCESS))
@pytest.mark.parametrize("nth", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 5, 8, 13))])
def test_just_as_it_starts_a_process_or_changes_the_disk(tmp_path: Path, kind: str, nth: int) -> None:
    number = SIGNALS[nth % 3]
    boot = AT_EVENT.format(kinds={kind}, nth=nth, number=int(number))
    build = Build(tmp_path, str(files.onnx_file(tmp_path / "net.onnx")), boot=boot)
    assert not build.end().wrong(number)


@pytest.mark.parametrize("nth", [1, 50, 300])
def test_while_it_is_still_importing(tmp_path: Path, nth: int) -> None:
    boot = AT_EVENT.format(kinds={"import"}, nth=nth, number=int(signal.SIGTERM))
    ended = Build(tmp_path, boot=boot.replace("edgelift_builder.build", "edgelift_builder")).end()
    assert (ended.code, ended.processes, ended.leftovers) == (143, [], [])


HARD_TO_KILL = """
import os, signal, subprocess, sys, time

def source():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    if os.fork() == 0:  # a daemon, by the book
        os.setsid()
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(0)
    open({started!r}, "w").close()
    {work}
"""


@pytest.mark.parametrize(
    "work", ["time.sleep(3600)", "sum(range(10**13))"], ids=["sleeps", "holds the interpreter"]
)
def test_what_the_users_code_started_goes_too(tmp_path: Path, work: str) -> None:
    started = tmp_path / "started"
    file = tmp_path / "hard.py"
    file.write_text(HARD_TO_KILL.format(started=str(started), work=work))
    build = Build(tmp_path, f"{file}:source")
    while not started.exists():
        assert build.process.poll() is None, build.end().said
        time.sleep(0.02)
    build.send(signal.SIGTERM)
    assert not build.end().wrong(signal.SIGTERM)


def test_twice_and_three_times_changes_nothing(tmp_path: Path) -> None:
    build = Build(tmp_path, f"{TINY}:hangs")  # so that none of them comes too late
    build.wait_until(Moment("Running hangs", 0.5))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        build.send(number, group=True)
    ended = build.end()
    assert not ended.wrong(ended.code - 128) and ended.code - 128 in SIGNALS


def test_a_background_job_has_sigint_ignored_and_ends_all_the_same(tmp_path: Path) -> None:
    build = Build(tmp_path, f"{TINY}:hangs", ignored=signal.SIGINT)
    build.wait_until(Moment("Running hangs"))
    build.send(signal.SIGINT)
    assert not build.end().wrong(signal.SIGINT)


def test_under_nohup_a_hangup_means_nothing(tmp_path: Path) -> None:
    build = Build(tmp_path, str(files.onnx_file(tmp_path / "net.onnx")), ignored=signal.SIGHUP)
    build.wait_until(Moment("Making float32"))
    build.send(signal.SIGHUP, group=True)
    build.wait_until(Moment("Measuring"))
    ended = build.end()
    assert (ended.code, ended.release, ended.leftovers) == (0, True, [])


IN_PLACE = """
import os, signal, sys, threading
from pathlib import Path
from edgelift_builder import ending, staging
ending.listen()
made, out = Path(sys.argv[1]), Path(sys.argv[2])
seen = 0
def hook(event, args):
    global seen
    seen += event == "os.rename"
    if event == "os.rename" and seen == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGTERM)
sys.addaudithook(hook)
# Libraries have threads too, and the system gives a signal to any of them that does not block it.
threading.Thread(target=threading.Event().wait, daemon=True).start()
with ending.removed(made.parent):
    staging.put_in_place(made, out, force=True)
print("done")
"""


@pytest.mark.parametrize("nth", [1, 2])
def test_a_replaced_release_is_never_lost_between_its_two_renames(tmp_path: Path, nth: int) -> None:
    made, out = tmp_path / "staging" / "made", tmp_path / "out"
    for folder, text in ((made, "new"), (out, "old")):
        folder.mkdir(parents=True)
        (folder / "release.json").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", IN_PLACE, made, out, str(nth)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}"},
    )  # fmt: skip
    # The signal waited until both renames were done: too late to undo it, so it has no effect.
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert (out / "release.json").read_text() == "new"
    assert not made.parent.exists()


def test_a_rename_that_fails_gives_the_old_release_its_place_back(tmp_path: Path) -> None:
    from edgelift_builder.staging import put_in_place

    out = tmp_path / "out"
    out.mkdir()
    (out / "release.json").write_text("old")
    (tmp_path / "staging").mkdir()
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "staging" / "made", out, force=True)
    assert (out / "release.json").read_text() == "old"


def runs(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}"}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)


def test_a_second_signal_ends_what_hangs_after_the_release_has_its_name(tmp_path: Path) -> None:
    code = (
        "import signal, time\nfrom edgelift_builder import ending\nending.listen()\nending.done()\n"
        "signal.raise_signal(signal.SIGTERM)\nprint('still here', flush=True)\ntime.sleep(3600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}"},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"still here\n"
        process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM


def test_a_signal_while_the_interpreter_goes_changes_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom edgelift_builder import ending\nending.listen()\nending.done()\n"
        "class Late:\n    def __init__(self):\n        self.kill, self.number = os.kill, os.getpid()\n"
        "    def __del__(self):\n        self.kill(self.number, 15); self.kill(self.number, 1)\n"
        "sys = __import__('sys'); sys.late = Late()\n"
    )
    done = runs(code)
    assert done.returncode == 0, done.stderr


def test_a_killed_builds_temporary_files_are_swept_by_the_next(tmp_path: Path) -> None:
    build = Build(tmp_path, f"{TINY}:hangs")
    build.wait_until(Moment("Running hangs"))
    left = tmp_path / "tmp"
    while not list(left.iterdir()):
        time.sleep(0.02)
    build.send(signal.SIGKILL)
    assert build.end().code == -signal.SIGKILL
    code = "import pathlib, sys; from edgelift_builder import staging; staging.sweep(pathlib.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"], check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}", "TMPDIR": str(left)},
    )  # fmt: skip
    assert list(left.iterdir()) == [] and list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("is_done", "code"), [(True, 0), (False, 128 + signal.SIGHUP)])
def test_a_signal_waits_for_what_belongs_together_whichever_thread_gets_it(is_done: bool, code: int) -> None:
    # The main thread blocks the signal, so that the system must give it to the other one; it got it when a byte comes.
    program = (
        "import os, signal, threading\nfrom edgelift_builder import ending\nending.listen()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])\n"
        "got, gets = os.pipe()\nos.set_blocking(gets, False)\nsignal.set_wakeup_fd(gets)\n"
        "with ending.held():\n    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    os.read(got, 1)\n    print('together', flush=True)\n"
        f"    {'ending.done()' if is_done else 'pass'}\n"
    )
    ended = runs(program)
    assert (ended.returncode, ended.stdout) == (code, "together\n"), ended.stderr


def test_a_signal_that_does_not_wake_the_main_thread_ends_it_all_the_same() -> None:
    # The main thread waits and blocks the signal, so that another one is given it, by which no call of its ends: as when
    # the signal had come in the instant before the call.
    program = (
        "import os, signal, threading, time\nfrom edgelift_builder import ending\nending.listen()\n"
        "main = threading.get_native_id()\n"
        "def tell():\n"
        "    while 'S (sleeping)' not in open(f'/proc/self/task/{main}/status').read():\n        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    threading.Event().wait()\n"
        "reads, writes = os.pipe()\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "other = threading.Thread(target=lambda: (signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM]), tell()))\n"
        "other.start()\nos.read(reads, 1)\n"
    )
    ended = runs(program)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
