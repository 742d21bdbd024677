"""A program of the user's own ends in time, with all that it began, whatever it prints."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.waiting import until

from edgelift_agent.system.command import MARK, TAIL_BYTES, CommandEnd, run_command, why_not
from edgelift_agent.system.memory import FIRST_TO_GO
from edgelift_agent.update.check_answer import CheckAnswer, answer_of, judge_with_check, last_line, not_started
from edgelift_contract.probation import Verdict

#: For what ends by itself, seconds.
LONG_S = 120.0


def never() -> bool:
    return False


def shell(
    folder: Path, text: str, *, timeout_s: float = LONG_S, cancelled: Callable[[], bool] = never
) -> CommandEnd:
    environment = {"PATH": os.environ["PATH"], "FOLDER": str(folder)}
    argv = ["/bin/sh", "-c", text]
    return run_command(argv, environment, str(folder), timeout_s=timeout_s, cancelled=cancelled)


def lives(pid: int) -> bool:
    """Does this process run? One that has ended and is not taken note of doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def noted(folder: Path) -> list[int]:
    """Process ids that a program wrote down."""
    return [int(word) for file in folder.glob("*.pid") for word in file.read_text().split()]


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


def test_its_exit_code_and_the_end_of_what_it_printed_are_known(tmp_path: Path) -> None:
    end = shell(tmp_path, "echo first; echo second >&2; exit 75")
    assert end == CommandEnd("by-itself", 75, b"first\nsecond\n")
    assert shell(tmp_path, "kill -SEGV $$").status == -signal.SIGSEGV
    assert shell(tmp_path, "cat; pwd; ulimit -c >/dev/null; exit 0").output == b"/\n"  # nothing to read


def test_it_has_the_environment_that_is_given_and_no_descriptor_of_ours(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        end = shell(tmp_path, "env | sort; ls /proc/self/fd | wc -l")
    finally:
        os.close(reader)
        os.close(writer)
    lines = end.output.decode().splitlines()
    assert {line.partition("=")[0] for line in lines[:-1]} <= {
        "PATH",
        "FOLDER",
        MARK,
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    assert int(lines[-1]) == 4  # three channels, and the folder that ls reads


def test_it_is_ended_before_what_serves_where_memory_runs_out(tmp_path: Path) -> None:
    end = shell(tmp_path, f"until [ $(cat /proc/self/oom_score_adj) = {FIRST_TO_GO} ]; do :; done; echo so")
    assert end.output == b"so\n"


def test_one_that_hangs_is_ended_with_all_that_it_began(tmp_path: Path) -> None:
    before = children()
    text = """
        trap '' TERM INT HUP
        sleep 1000 & echo $! >$FOLDER/child.pid
        setsid sh -c 'echo $$ >$FOLDER/daemon.pid; exec sleep 1000' &
        while [ ! -s $FOLDER/daemon.pid ]; do :; done
        echo up; mkfifo $FOLDER/never; read x <$FOLDER/never
    """
    end = shell(tmp_path, text, timeout_s=3.0)
    assert end.how == "timed-out"
    assert b"up" in end.output
    assert len(noted(tmp_path)) == 2
    until(lambda: not any(map(lives, noted(tmp_path))), "the end of all of them")
    assert children() == before  # no zombie


def test_a_daemon_that_keeps_the_output_open_holds_nobody_up_and_ends_too(tmp_path: Path) -> None:
    text = """
        (setsid sh -c 'echo $$ >$FOLDER/daemon.pid; exec yes daemon' &)
        while [ ! -s $FOLDER/daemon.pid ]; do :; done
        exit 3
    """
    end = shell(tmp_path, text)
    assert (end.how, end.status) == ("by-itself", 3)
    (daemon,) = noted(tmp_path)
    until(lambda: not lives(daemon), "the daemon's end")


def test_one_that_prints_without_end_is_not_kept_in_memory(tmp_path: Path) -> None:
    end = shell(tmp_path, "exec yes nothing", timeout_s=0.5)
    assert (end.how, len(end.output)) == ("timed-out", TAIL_BYTES)


def test_one_that_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    end = shell(tmp_path, "echo $$ >$FOLDER/it.pid; exec sleep 1000", cancelled=lambda: bool(noted(tmp_path)))
    assert end.how == "cancelled"
    (pid,) = noted(tmp_path)
    assert not Path(f"/proc/{pid}").exists()


def test_what_an_agent_that_was_killed_left_running_is_ended_before_the_next(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "1000"], env={**os.environ, MARK: str(tmp_path)})
    other = subprocess.Popen(["sleep", "1000"], env={**os.environ, MARK: f"{tmp_path}-2"})
    try:
        until(lambda: f"{MARK}={tmp_path}".encode() in Path(f"/proc/{left.pid}/environ").read_bytes(), "its start")
        shell(tmp_path, "true")
        assert left.wait(LONG_S) in (-signal.SIGKILL, 0)  # 0: it was taken note of already
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_first_process_of_a_container_takes_note_of_what_ended(tmp_path: Path) -> None:
    """It inherits whatever a program leaves behind, as `prctl(PR_SET_CHILD_SUBREAPER)` has it here."""
    text = f"""
import ctypes, sys
from pathlib import Path
from edgelift_agent.system.command import run_command
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
argv = ["/bin/sh", "-c", "(setsid sleep 1000 &) ; sleep 1000 & exit 0"]
print(run_command(argv, {{"PATH": "{os.environ["PATH"]}"}}, "{tmp_path}", timeout_s=100, cancelled=lambda: False).how)
print(Path("/proc/self/task/%d/children" % __import__("os").getpid()).read_text())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["by-itself"], done.stderr


def test_why_it_cannot_be_started_is_seen_before(tmp_path: Path) -> None:
    good, plain, odd, folder = (tmp_path / name for name in ("good", "plain", "odd", "folder"))
    folder.mkdir()
    good.write_text("#!/bin/sh\n")
    plain.write_text("echo\n")
    odd.write_text("#!/no/such/python -u\n")
    for file in (good, odd, plain):
        file.chmod(0o755)
    assert [why_not(name) for name in ("sh", "/bin/sh", str(good))] == ["", "", ""]
    assert "neither a binary" in why_not(str(plain))
    assert "'/no/such/python'" in why_not(str(odd))
    good.chmod(0o644)
    assert "may run" in why_not(str(good))
    assert "may run" in why_not(str(folder))
    assert why_not("/no/such/check") == "there is no /no/such/check"
    assert "on the path" in why_not("no-such-check")


ANSWERS = {
    "good": (CommandEnd("by-itself", 0, b"fine"), "good", "", ""),
    "not now": (
        CommandEnd("by-itself", 75, b"no picture yet\n\n"),
        "not-now",
        "check-undecided",
        "no picture yet",
    ),
    "bad": (CommandEnd("by-itself", 1, b"a\nall black\n"), "bad", "check-failed", "exit code 1: all black"),
    "silent": (CommandEnd("by-itself", 2, b" \n"), "bad", "check-failed", "exit code 2; it printed nothing."),
    "signal": (CommandEnd("by-itself", -11, b""), "bad", "check-failed", "SIGSEGV; it printed nothing."),
    "odd signal": (CommandEnd("by-itself", -40, b"x"), "bad", "check-failed", "signal 40: x"),
    "hang": (CommandEnd("timed-out", 0, b"waiting"), "bad", "check-hung", "within 5 s: waiting"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_an_end_means(case: str) -> None:
    end, kind, code, said = ANSWERS[case]
    answer = answer_of("/bin/ok", end, 5)
    assert (answer.kind, answer.code) == (kind, code)
    assert answer.message.endswith(said)


def test_the_last_line_is_harmless_and_short() -> None:
    assert last_line(b"\x1b[31mno \x1b[1mpicture\x1b[0m\r\n") == "no picture"
    assert last_line(b"10%\r20%\r30%") == "30%"
    line = last_line(bytes(range(256)) * 20)
    assert len(line) <= 200
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    assert len(last_line(b"x" * 5000)) == 200
    assert last_line(b"") == ""


def test_what_is_short_now_is_not_held_against_the_model() -> None:
    for number in (errno.ENOMEM, errno.EAGAIN, errno.EMFILE):
        assert not_started("x", OSError(number, os.strerror(number))).kind == "not-now"
    for number in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):
        assert not_started("x", OSError(number, os.strerror(number))).code == "check-not-started"


GOOD = CheckAnswer("good")
BAD = CheckAnswer("bad", "check-failed", "no")
NOT_NOW = CheckAnswer("not-now", "check-undecided", "later")
WAIT, PASS, FAIL = Verdict("wait"), Verdict("pass"), Verdict("fail", "probation-errors")


@pytest.mark.parametrize(
    ("verdict", "last", "running", "over_s", "kind", "code"),
    [
        (FAIL, GOOD, True, -1, "fail", "probation-errors"),  # what was served is judged as ever
        (WAIT, BAD, False, -1, "fail", "check-failed"),
        (PASS, BAD, True, 1, "fail", "check-failed"),
        (WAIT, GOOD, False, -1, "wait", ""),
        (PASS, None, False, 0, "wait", ""),  # never without an answer
        (PASS, None, True, 1e9, "wait", ""),  # its own time limit ends it
        (PASS, GOOD, True, 1e9, "wait", ""),
        (PASS, GOOD, False, 0, "pass", ""),
        (WAIT, NOT_NOW, False, -1, "wait", "check-undecided"),
        (PASS, NOT_NOW, False, 9, "wait", "check-undecided"),
        (PASS, NOT_NOW, True, 11, "wait", "check-undecided"),
        (PASS, NOT_NOW, False, 10, "fail", "check-undecided"),
    ],
)
def test_the_check_has_a_say_and_never_the_only_one(
    verdict: Verdict, last: CheckAnswer | None, running: bool, over_s: float, kind: str, code: str
) -> None:
    judged = judge_with_check(verdict, last, running=running, over_s=over_s, wait_s=10)
    if judged.kind == "wait" and last is GOOD:
        assert judged.message == ""
    assert (judged.kind, judged.code) == (kind, code)
