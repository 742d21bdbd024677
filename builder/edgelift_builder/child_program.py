"""The program that a `Child` runs: it receives calls over a pipe and answers, until the parent closes its end."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from edgelift_builder.exceptions import shortage_of, summarise
from edgelift_contract import EdgeliftError

#: Linux `prctl.h`: the signal that a process is sent when its parent ends.
_PR_SET_PDEATHSIG = 1


def serve(pipe: Connection, log: str, parent: int) -> None:
    """The child's loop: receive, run, answer, until the parent (by its process id) closes its end; then the process ends."""
    _settle(log, parent)
    while True:
        try:
            function, args = pipe.recv()
        except (EOFError, OSError):
            _end()
        answer: tuple[Any, ...]
        try:
            answer = ("done", function(*args))
        except EdgeliftError as error:
            traceback.print_exc()
            answer = ("error", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it was, the parent tells it
            traceback.print_exc()
            answer = ("raised", summarise(error), shortage_of(error))
        sys.stdout.flush()
        sys.stderr.flush()
        pipe.send(answer)


def _end() -> NoReturn:
    """End at once: taking torch and the runtimes apart, module by module, takes longer than the parent waits."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _settle(log: str, parent: int) -> None:
    if sys.platform == "linux":
        # If the parent is killed outright, don't linger with half of its work.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)  # it was killed before we asked to be told
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
