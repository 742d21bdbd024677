"""Our commands as processes of their own that have their imports behind them: forked from one that imported them once.

`edgelift serve` begins with two seconds of imports, and tests start it and the other commands many hundreds of times.
What runs is the same: a process with its own pid, files, environment and signals, ended and killed like any other, from
the command's `main` on. What this leaves out is an interpreter's start and the imports: tests about those, the demo, and
tests/e2e/test_loop.py start theirs the long way. That it is the same, tests/test_forking.py says.
"""

from __future__ import annotations

import atexit
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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.forked import CHILD, CONVERTING, ROOT

#: What may differ in a process's environment from what we began with: our own code reads it, and only when it runs.
_MAY_DIFFER = (
    "EDGELIFT_", "_EDGELIFT_", "PG", "AWS_", "NOTIFY_SOCKET", "PYTEST_CURRENT_TEST",
    # What importing a converter or scikit-learn leaves in a worker: nothing of it changes what a command does.
    "TF_CPP_", "TPU_", "TORCHINDUCTOR_", "KMP_",
)  # fmt: skip
#: Of this process, before any test ran in it.
BEGAN_WITH = dict(os.environ)
#: What a child's imports find; see `edgelift_builder.child`.
AS_CHILD = {"PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}


def may_fork(variables: Mapping[str, str]) -> bool:
    """Would it start the same with these of its own? Else, as with another PYTHONPATH, it has to start the long way."""
    return not keep_from_forking(variables)


def keep_from_forking(variables: Mapping[str, str]) -> set[str]:
    """The names of what differs and must not; see `may_fork`."""
    now = {**os.environ, **variables}
    names = {name for name in now.keys() | BEGAN_WITH.keys() if now.get(name) != BEGAN_WITH.get(name)}
    return {name for name in names if not name.startswith(_MAY_DIFFER)}


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
        pipe: int = -1,
    ) -> None:
        """Start it, in our working folder and with nothing to read.

        Args:
            command: one of `COMMANDS`.
            arguments: its own; of `edgelift` also `-c` and a program's text, to be run beside the same imports.
            environment: all of it; see `may_fork`.
            stdout: a file, or `subprocess.PIPE`.
            stderr: a file.
            pipe: of a `CHILD` or `CONVERTING`, which leads a session of its own: where its calls come.
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
                files += [pipe] if pipe >= 0 else []
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


class ForkedChild:
    """What `edgelift_builder.child.Child` starts as its process, forked; its methods are those of `child.Process`."""

    def __init__(self, command: str, pipe: int, log: Path, environment: Mapping[str, str]) -> None:
        """Start it; see `Forked`."""
        self._process = Forked(command, [str(log)], environment, stdout=1, stderr=2, pipe=pipe)
        self.pid, self.returncode = self._process.pid, None

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, timeout: float | None = None) -> int:
        self.returncode = self._process.wait(timeout)
        return self.returncode

    def kill(self) -> None:
        self._process.kill()


class _Source:
    """The process that has imported a command and is forked for each that is started."""

    def __init__(self, command: str) -> None:
        self._mutex = threading.Lock()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process; not ours, which a test may read
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            path = os.pathsep.join(map(str, (ROOT / "agent", ROOT / "builder", ROOT)))
            more = AS_CHILD if command in (CHILD, CONVERTING) else {"COLUMNS": "200"}
            program = "from tests.forked import serve; serve()()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, command, str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
                env={**BEGAN_WITH, "PYTHONPATH": path, **more}, cwd=ROOT,
            )  # fmt: skip
        atexit.register(self._end)

    def _end(self) -> None:
        self._ours.close()  # nobody can ask it any more
        self._process.wait()
        self._said.close()

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
                told = self._ours.recv(64)
                assert told, _text(self._said)
                return int(told), status
        finally:
            os.close(theirs)


_sources: dict[str, _Source] = {}
_mutex = threading.Lock()


def _source_of(command: str) -> _Source:
    with _mutex:
        if command not in _sources:
            _sources[command] = _Source(command)
        return _sources[command]
