"""A program of the user's own, run within bounds: of time, of what it prints, of what it leaves behind.

It has a session of its own and nothing to read. What it prints is read as it comes and its end alone kept; a program
that prints without end is slowed down, for reading that must take no time from serving. Once it has ended or was ended,
whatever it began ends too: its process group, and those that left the group and still carry the mark.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgelift_agent.system.memory import let_go_first

log = logging.getLogger(__name__)

#: In the environment of whatever a program begins, unless it takes it out: by this they are found that left its group.
MARK = "EDGELIFT_RUN_BY"
#: Where programs are looked for that are named without a folder, when the agent itself was told of no place.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What is kept of the output's end, bytes.
TAIL_BYTES = 4096
#: How often to look whether it has ended or is to end, seconds.
LOOK_S = 0.05
#: From so many bytes on, each piece that is read is followed by a rest, seconds: 6 MB/s.
FREE_BYTES, REST_S = 1 << 20, 0.01
#: How long one that was killed may take to go, seconds: a driver that hangs holds it for longer.
GONE_WITHIN_S = 5.0
_PIECE = 65536
#: Pieces that a pipe may hold at an end, and times that is looked for what carries the mark.
_LAST_PIECES, _ROUNDS = 32, 8


@dataclass(frozen=True)
class CommandEnd:
    """How a program ended.

    Attributes:
        how: by itself, or because its time was over, or because nobody wanted it any more.
        status: its exit code; negative for the number of a signal; 0 where it was ended.
        output: the end of what it printed on both channels, at most `TAIL_BYTES`.
    """

    how: Literal["by-itself", "timed-out", "cancelled"]
    status: int
    output: bytes


def run_command(
    argv: Sequence[str], environment: Mapping[str, str], mark: str, *, timeout_s: float, cancelled: Callable[[], bool]
) -> CommandEnd:  # fmt: skip
    """Run a program until it ends or is ended; blocks for `timeout_s` and a few seconds at most.

    Args:
        argv: the program and its arguments; one without a folder is looked for on the environment's PATH.
        environment: all that it has.
        mark: names whose programs these are; no two that run at once may share it.
        timeout_s: after which it is killed, seconds.
        cancelled: asks it to be killed now.

    Raises:
        OSError: it can't be started.
    """
    end_marked(mark)  # of an agent that was killed
    child = subprocess.Popen(
        list(argv), env={**environment, MARK: mark}, cwd="/", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        let_go_first(child.pid)
        return _follow(child, time.monotonic() + timeout_s, cancelled)
    finally:
        _end_all(child, mark)


def _follow(child: subprocess.Popen[bytes], deadline: float, cancelled: Callable[[], bool]) -> CommandEnd:
    output = _Output(child)
    while True:
        status = _status(child)  # first: what it printed before its end is in the pipe then
        if status is not None:
            output.take_rest()
            return CommandEnd("by-itself", status, output.tail)
        if cancelled():
            return CommandEnd("cancelled", 0, output.tail)
        if time.monotonic() >= deadline:
            return CommandEnd("timed-out", 0, output.tail)
        output.wait()


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """As `Popen.returncode`; the process stays, so that its number is nobody else's while its group is ended."""
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


class _Output:
    """The pipe that a program prints to.

    Attributes:
        tail: the end of what came, bytes.
    """

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        self._descriptor = child.stdout.fileno()
        os.set_blocking(self._descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._open, self._came = True, 0
        self.tail = b""

    def wait(self) -> None:
        """Read a piece, or let a moment pass."""
        if not self._open or not self._poll.poll(LOOK_S * 1000):
            time.sleep(0 if self._open else LOOK_S)
        elif self._take() and self._came > FREE_BYTES:
            time.sleep(REST_S)

    def take_rest(self) -> None:
        """Read what is left, but not for ever: what it began may still print."""
        for _ in range(_LAST_PIECES):
            if not self._take():
                return

    def _take(self) -> bool:
        try:
            piece = os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return False
        self._open, self._came = bool(piece), self._came + len(piece)
        self.tail = (self.tail + piece)[-TAIL_BYTES:]
        return self._open


def _end_all(child: subprocess.Popen[bytes], mark: str) -> None:
    with contextlib.suppress(OSError):  # nobody is left, or a member is another user's now
        os.killpg(child.pid, signal.SIGKILL)
    if child.stdout is not None:
        child.stdout.close()
    try:
        child.wait(GONE_WITHIN_S)
    except subprocess.TimeoutExpired:
        log.warning("process %d was killed and does not go: a driver holds it", child.pid)
    else:
        _reap(os.P_PGID, child.pid)
    end_marked(mark)


def end_marked(mark: str) -> None:
    """Kill whatever carries this mark, and what those begin meanwhile."""
    wanted, killed = f"{MARK}={mark}".encode(), set[int]()
    for _ in range(_ROUNDS):
        found = {pid for pid in _processes() if pid != os.getpid() and wanted in _environment(pid)}
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        if not found:
            break
    for pid in killed:
        _reap(os.P_PID, pid)


def _reap(kind: int, number: int) -> None:
    """Take note of their ends, where it is for us to do: the first process of a container inherits what others leave."""
    late = time.monotonic() + GONE_WITHIN_S
    with contextlib.suppress(ChildProcessError):  # none is left; or, as nearly always, they are not ours
        while time.monotonic() < late:
            if os.waitid(kind, number, os.WEXITED | os.WNOHANG) is None:
                time.sleep(LOOK_S)


def _processes() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - hundreds of names


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")  # empty for one that has ended
    except OSError:
        return []


def search_path() -> str:
    """Where this process looks for programs that are named without a folder."""
    return os.environ.get("PATH") or DEFAULT_PATH


def why_not(name: str) -> str:
    """Why this process could not start a program, in a few words; empty where it could, as far as can be seen."""
    path = search_path()
    found = shutil.which(name, path=path)
    if found is None:
        if "/" not in name:
            return f"there is no program {name} on the path {path}"
        there = Path(name).exists()
        return f"{name} is no program that this user may run" if there else f"there is no {name}"
    try:
        with Path(found).open("rb") as file:
            head = file.read(256)
    except OSError:
        return ""  # what may be run need not be readable
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        gone = f"{found} names the interpreter {interpreter!r}, which is not there"
        return "" if os.access(interpreter, os.X_OK) else gone
    return "" if head.startswith(b"\x7fELF") else f"{found} is neither a binary nor begins with #!"
