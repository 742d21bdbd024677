"""A child process that may crash, hang or run out of memory without taking the build with it.

The user's code, the converters and the runtimes all run in one of these. The parent calls functions by
reference; arguments and results cross by pickle, so both are plain data, and only functions of this package
are ever called. An `EdgeliftError` comes back as it was raised; any other exception comes back as the caller's
own sentence. What the child prints goes to a log file, to the terminal with `--debug`; never to the parent's
standard output, which may be JSON. Each leads a session and a process group of its own, so that a terminal's
Ctrl-C is the parent's alone to answer and whatever it starts ends with it; its temporary files lie in a folder that
goes with it too.

Not its business: which errors mean what. Callers say it by an `OnFailure`.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, TypeVar

from edgelift_builder import ending
from edgelift_contract import ContractError, DeviceError, EdgeliftError

T = TypeVar("T")

#: A child may end by itself for so long, seconds, before it is killed.
_CLOSE_S = 0.2
_TEMPORARY = "edgelift-tmp-"

#: What the child runs first: the parent's module path comes over the pipe, before anything of ours is imported.
_BOOT = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = pipe.recv()
from edgelift_builder.child_program import serve
serve(pipe, sys.argv[2], int(sys.argv[3]))
"""


@dataclass(frozen=True)
class OnFailure:
    """How to tell a person what went wrong in a call.

    Attributes:
        what: who failed, as the subject of a sentence: `digits in simplecnn.py`.
        raised, hung, died: the error codes for an exception, the time limit, and the process's end.
        hint: what to do about an exception.
    """

    what: str
    raised: str = "conversion-failed"
    hung: str = "conversion-failed"
    died: str = "conversion-failed"
    hint: str = "Run again with --debug for the whole traceback."


class Process(subprocess.Popen[bytes]):
    """A child's process."""

    def __init__(self, pipe: int, log: Path, environment: dict[str, str]) -> None:
        """Start it.

        Args:
            pipe: descriptor of its end of the pipe.
            log: what it prints goes there.
            environment: all of its variables.
        """
        super().__init__(
            [sys.executable, "-c", _BOOT, str(pipe), str(log), str(os.getpid())],
            pass_fds=[pipe], start_new_session=True, stdin=subprocess.DEVNULL, env=environment,
        )  # fmt: skip

    def has_ended(self) -> bool:
        """Has it? It stays to be reaped: until then its number is nobody else's."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


class Child:
    """A process that answers calls one after the other. Use it as a context manager.

    Attributes:
        start: how its process is started; the tests have one that has torch's imports behind it.
    """

    start = Process

    def __init__(self, log: Path) -> None:
        self._left = ExitStack()
        self._pipe, theirs = Pipe()
        environment = {**os.environ, **self._temporary_folder(), "PYTHONHASHSEED": _HASH_SEED}
        self._process = self.start(theirs.fileno(), log, environment)
        theirs.close()
        self._pipe.send(sys.path)

    def _temporary_folder(self) -> dict[str, str]:
        """A folder for its temporary files, as an addition to its environment; none where none can be made."""
        folder = Path(tempfile.gettempdir()) / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
        self._left.enter_context(ending.removed(folder))
        try:
            folder.mkdir(0o700)
        except OSError:
            return {}
        return {"TMPDIR": str(folder)}

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *args: Any, on_failure: OnFailure, timeout_s: float = 1800.0) -> T:
        """Run `function(*args)` over there and return its result.

        Raises:
            EdgeliftError: as the function raised it; else with the code and sentence of `on_failure`.
        """
        try:
            self._pipe.send((function, args))
            if not self._pipe.poll(timeout_s):
                self.close()
                raise ContractError(
                    on_failure.hung,
                    f"{on_failure.what} did not finish within {timeout_s:g} seconds and was stopped.",
                    hint="Give it longer with --timeout SECONDS, or look for an endless loop.",
                )
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._wait(5)
            self.close()
            code = self._process.returncode
            raise _died(on_failure, code) from error
        if answer[0] == "done":
            return answer[1]  # type: ignore[no-any-return]  # the function's own result, over a pipe
        if answer[0] == "error":
            raise answer[1]
        _, summary, shortage = answer
        if shortage:
            raise DeviceError(
                shortage, f"{on_failure.what} ran out of {_SHORT_OF[shortage]}.", hint=_SHORTAGE_HINTS[shortage]
            )
        raise ContractError(on_failure.raised, f"{on_failure.what} raised {summary}.", hint=on_failure.hint)

    def close(self) -> None:
        """End the process and whatever it started. Safe to call twice."""
        self._pipe.close()
        if self._process.returncode is None:
            self._wait(_CLOSE_S)
            try:  # while it is not reaped its number is nobody else's, and its group holds what it started
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:
                self._process.kill()
            self._process.wait()
        self._left.close()

    def _wait(self, timeout_s: float) -> None:
        """Until it has ended, for `timeout_s` at most; it stays to be reaped."""
        deadline = time.monotonic() + timeout_s
        while not self._process.has_ended() and time.monotonic() < deadline:
            time.sleep(0.005)


def sweep_temporary() -> None:
    """Remove the temporary folders of builds that were killed outright."""
    for left in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        found = re.fullmatch(re.escape(_TEMPORARY) + r"(\d+)-[0-9a-f]+", left.name)
        if found and not ending.is_alive(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)


#: torch.jit writes sets in the order of their hashes, and equal models must give equal bytes.
_HASH_SEED = "0"

_SHORT_OF = {"disk-full": "disk space", "no-memory": "memory"}
_SHORTAGE_HINTS = {
    "disk-full": "Free some space, or choose another folder with --out.",
    "no-memory": "Close other programs, or build on a machine with more memory.",
}


def _died(on_failure: OnFailure, code: int | None) -> EdgeliftError:
    if code == -signal.SIGKILL:
        return DeviceError(
            "no-memory",
            f"{on_failure.what} was killed by the system, most likely because memory ran out.",
            hint="Close other programs, or build on a machine with more memory.",
        )
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return ContractError(
        on_failure.died, f"{on_failure.what} ended its process with {name}.", hint=on_failure.hint
    )
