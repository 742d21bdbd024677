"""A child process that may crash, hang or run out of memory without taking the build with it.

The user's code, the converters and the runtimes all run in one of these. The parent calls functions by
reference; arguments and results cross by pickle, so both are plain data, and only functions of this package
are ever called. An `EdgeliftError` comes back as it was raised; any other exception comes back as the caller's
own sentence. What the child prints goes to a log file, to the terminal with `--debug`; never to the parent's
standard output, which may be JSON.

Not its business: which errors mean what. Callers give the words.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import random
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from edgelift_contract import ContractError, DeviceError, EdgeliftError

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Words:
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


class Child:
    """A process that answers calls one after the other. Use it as a context manager."""

    def __init__(self, log: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, str(log)), daemon=False)
        self._log = log
        with _fixed_hash_seed():
            self._process.start()
        theirs.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *args: Any, words: Words, timeout_s: float = 1800.0) -> T:
        """Run `function(*args)` over there and return its result.

        Raises:
            EdgeliftError: as the function raised it; else with the code and sentence of `words`.
        """
        try:
            self._pipe.send((function, args))
            if not self._pipe.poll(timeout_s):
                self.close()
                raise ContractError(
                    words.hung,
                    f"{words.what} did not finish within {timeout_s:g} seconds and was stopped.",
                    hint="Give it longer with --timeout SECONDS, or look for an endless loop.",
                )
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            code = self._process.exitcode
            self.close()
            raise _died(words, code) from error
        if answer[0] == "done":
            return answer[1]  # type: ignore[no-any-return]  # the function's own result, over a pipe
        if answer[0] == "error":
            raise answer[1]
        _, summary, shortage = answer
        if shortage:
            raise DeviceError(
                shortage, f"{words.what} ran out of {_SHORT_OF[shortage]}.", hint=_SHORTAGE_HINTS[shortage]
            )
        raise ContractError(words.raised, f"{words.what} raised {summary}.", hint=words.hint)

    def close(self) -> None:
        """End the process and whatever it started. Safe to call twice."""
        self._pipe.close()
        self._process.join(0.2 if self._process.is_alive() else 0)
        if self._process.is_alive() and self._process.pid:
            try:  # the child leads a group of its own: its own children go with it
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:
                self._process.kill()
        self._process.join()


@contextmanager
def _fixed_hash_seed() -> Iterator[None]:
    """For the interpreter started inside: torch.jit writes sets in the order of their hashes, and equal models
    must give equal bytes.
    """
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


_SHORT_OF = {"disk-full": "disk space", "no-memory": "memory"}
_SHORTAGE_HINTS = {
    "disk-full": "Free some space, or choose another folder with --out.",
    "no-memory": "Close other programs, or build on a machine with more memory.",
}


def _died(words: Words, code: int | None) -> EdgeliftError:
    if code == -signal.SIGKILL:
        return DeviceError(
            "no-memory",
            f"{words.what} was killed by the system, most likely for want of memory.",
            hint="Close other programs, or build on a machine with more memory.",
        )
    name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
    return ContractError(words.died, f"{words.what} ended its process with {name}.", hint=words.hint)


def _serve(pipe: Connection, log: str) -> None:
    """The child's loop: receive, run, answer, until the parent closes its end."""
    _settle(log)
    while True:
        try:
            function, args = pipe.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Any, ...]
        try:
            answer = ("done", function(*args))
        except EdgeliftError as error:
            traceback.print_exc()
            answer = ("error", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it was, the parent tells it
            traceback.print_exc()
            answer = ("raised", summarise(error), _shortage(error))
        sys.stdout.flush()
        sys.stderr.flush()
        pipe.send(answer)


def _settle(log: str) -> None:
    os.setsid()
    if sys.platform == "linux":
        # If the parent is killed outright, don't linger with half of its work.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.environ.get("EDGELIFT_DEBUG"):
        os.dup2(2, 1)
    else:
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    random.seed(0)


def _shortage(error: BaseException) -> str:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError):
            return "no-memory"
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return "disk-full"
        seen = seen.__cause__ or seen.__context__
    return ""


def summarise(error: BaseException) -> str:
    """An exception in one line of at most 300 characters: its kind and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return (text if len(text) <= 300 else text[:297] + "…").rstrip(".")
