"""Our commands as processes of their own that have their imports behind them: forked from one that imported them once.

`edgelift serve` begins with two seconds of imports, and tests start it and the other commands many hundreds of times.
What runs is the same: a process with its own pid, files, environment and signals, ended and killed like any other, from
the command's `main` on. What this leaves out is an interpreter's start and the imports; tests about those, and all of
tests/e2e, start theirs the long way.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]

#: Command → what is imported before it is asked for: what it imports itself, sooner or later.
COMMANDS = {
    "edgelift": (
        "edgelift.cli", "edgelift.frame", "edgelift_fleet.server", "edgelift_fleet.local", "edgelift_fleet.client",
        "alembic.command", "alembic.migration", "sqlalchemy.dialects.sqlite", "uvicorn.protocols.http.httptools_impl",
        "edgelift_fleet.keeping.backup", "edgelift_fleet.keeping.restore", "rich.console", "rich.table",
    ),
    "edgelift_agent.testing.agent": ("edgelift_agent.testing.agent",),
}  # fmt: skip

#: What may differ in a process's environment from what we began with: our own code reads it, and only when it runs.
_MAY_DIFFER = ("EDGELIFT_", "_EDGELIFT_", "PG", "AWS_", "NOTIFY_SOCKET", "PYTEST_CURRENT_TEST")
_BEGAN_WITH = dict(os.environ)


def may_fork(variables: Mapping[str, str]) -> bool:
    """Would it start the same with these of its own? Else, as with another PYTHONPATH, it has to start the long way."""
    now = {**os.environ, **variables}
    names = {name for name in now.keys() | _BEGAN_WITH.keys() if now.get(name) != _BEGAN_WITH.get(name)}
    return all(name.startswith(_MAY_DIFFER) for name in names)


def run(
    command: str, arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with `capture_output` and `text`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = Forked(command, arguments, environment, stdout=out, stderr=errors)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess([command, *arguments], status, _text(out), _text(errors))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")


class Forked:
    """A running command; its methods are those of `subprocess.Popen`."""

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: int | IO[Any],
        stderr: int | IO[Any],
    ) -> None:
        """Start it, in our working folder and with nothing to read.

        Args:
            command: one of `COMMANDS`.
            arguments: its own; of `edgelift` also `-c` and a program's text, to be run beside the same imports.
            environment: all of it; see `may_fork`.
            stdout: a file, or `subprocess.PIPE`.
            stderr: a file.
        """
        self.returncode: int | None = None
        self.stdout: IO[bytes] | None = None
        self._mutex = threading.Lock()
        with Path(os.devnull).open("rb") as nothing:
            out, theirs = stdout, -1
            if stdout == subprocess.PIPE:
                ours, theirs = os.pipe()
                self.stdout, out = os.fdopen(ours, "rb"), theirs
            try:
                files = [one if isinstance(one, int) else one.fileno() for one in (nothing, out, stderr)]
                self.pid, self._status = _source_of(command).fork(arguments, environment, files)
            finally:
                if theirs >= 0:
                    os.close(theirs)

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that ended it; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """As `poll`, once it has ended; raises `subprocess.TimeoutExpired`."""
        found = self._look(timeout)
        if found is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return found

    def _look(self, timeout: float | None) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._mutex:
            while self.returncode is None:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                poller = select.poll()  # `select` knows no descriptor above 1023
                poller.register(self._status, select.POLLIN)
                if not poller.poll(None if left is None else left * 1000):
                    return None
                said = os.read(self._status, 16)
                os.close(self._status)
                assert said, "the process that forks ours has ended"
                self.returncode = int(said)
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Source:
    """The process that has imported a command and is forked for each that is started."""

    def __init__(self, command: str) -> None:
        self._mutex = threading.Lock()
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            path = os.pathsep.join(map(str, (ROOT / "agent", ROOT / "builder", ROOT)))
            program = "from tests.forking import serve; serve()()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, command, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, env={**_BEGAN_WITH, "PYTHONPATH": path, "COLUMNS": "200"}, cwd=ROOT,
            )  # fmt: skip
        atexit.register(self._end)

    def _end(self) -> None:
        self._ours.close()  # nobody can ask it any more
        self._process.wait()

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], files: list[int]) -> tuple[int, int]:
        """The new process's id, and where its exit status comes."""
        mask = os.umask(0)
        os.umask(mask)
        asked = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "cwd": str(Path.cwd()),
            "umask": mask,
        }
        status, theirs = os.pipe()
        try:
            with self._mutex:
                socket.send_fds(self._ours, [json.dumps(asked).encode()], [*files, theirs])
                return int(self._ours.recv(64)), status
        finally:
            os.close(theirs)


_sources: dict[str, _Source] = {}
_mutex = threading.Lock()


def _source_of(command: str) -> _Source:
    with _mutex:
        if command not in _sources:
            _sources[command] = _Source(command)
        return _sources[command]


def serve() -> Callable[[], object]:
    """Fork whenever asked to, until nobody can ask; returns in each new process, with what it has to run."""
    command, number = sys.argv[1:]
    for module in COMMANDS[command]:
        importlib.import_module(module)
    sys.path.remove(str(ROOT))
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # whoever asks us is told, and we end with them
    awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control, running = socket.socket(fileno=int(number)), dict[int, int]()
    while True:
        ready, _, _ = select.select([control, awake], [], [])
        if awake in ready:
            with suppress(BlockingIOError):
                os.read(awake, 4096)
            _reap(running)
        if control in ready:
            data, files, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not data:
                return lambda: None
            pid = os.fork()
            if not pid:
                return _become(command, json.loads(data), files)
            running[pid] = files.pop()
            for one in files:
                os.close(one)
            control.send(str(pid).encode())


def _reap(running: dict[int, int]) -> None:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            told = running.pop(found[0])
            with suppress(BrokenPipeError):  # nobody waits for it
                os.write(told, str(os.waitstatus_to_exitcode(found[1])).encode())
            os.close(told)


def _become(command: str, asked: dict[str, Any], files: list[int]) -> Callable[[], object]:
    """Make this new process what it would be had it been started by itself."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, file in enumerate(files[:3]):
        os.dup2(file, target)
    os.closerange(3, 4096)
    # New ones: those that Python made were made for other files.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old, buffering = getattr(sys, name), 1 if name == "stderr" else -1
        new = open(number, mode, buffering, old.encoding, old.errors, closefd=False)  # noqa: SIM115 - for good
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["cwd"])
    os.umask(asked["umask"])
    arguments = asked["arguments"]
    if command != "edgelift":
        module = importlib.import_module(command)
        sys.argv = [str(module.__file__), *arguments]
        return module.main
    if arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        return lambda: exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    sys.argv = ["-c", *arguments]
    return importlib.import_module("edgelift.cli").main
