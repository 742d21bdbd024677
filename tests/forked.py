"""The process that is forked for each command that tests start; `forking` asks it.

What it imports may begin no thread: only OpenBLAS, which numpy brings, has some, and ends and begins them at a fork.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

#: A child process of a build, and of one that makes TFLite. The runtimes are left to them: ONNX Runtime begins a thread.
CHILD, CONVERTING = "child", "converting child"
_OF_A_CHILD = (
    "edgelift_builder.child_program", "torch", "torch.onnx", "torch.export", "torch._dynamo", "torch.nn.utils.prune",
    "onnx", "onnx.version_converter", "onnxscript", "onnx_ir", "scipy.stats",
)  # fmt: skip

#: Command → what is imported before it is asked for: what it imports itself, sooner or later.
COMMANDS = {
    "edgelift": (
        "edgelift.cli", "edgelift.frame", "edgelift_fleet.server", "edgelift_fleet.local", "edgelift_fleet.client",
        "alembic.command", "alembic.migration", "sqlalchemy.dialects.sqlite", "uvicorn.protocols.http.httptools_impl",
        "edgelift_fleet.keeping.backup", "edgelift_fleet.keeping.restore", "rich.console", "rich.table",
    ),
    "edgelift_agent.testing.agent": ("edgelift_agent.testing.agent",),
    CHILD: _OF_A_CHILD,
    CONVERTING: (*_OF_A_CHILD, "litert_torch"),
}  # fmt: skip


def serve() -> Callable[[], object]:
    """Fork whenever asked to, until nobody can ask; returns in each new process, with what it has to run."""
    command, number = sys.argv[1:]
    if command in (CHILD, CONVERTING):
        warnings.simplefilter("ignore")  # as a child does before it imports anything
    for module in COMMANDS[command]:
        importlib.import_module(module)
    sys.path.remove(str(ROOT))
    # What was imported is no garbage: looked through by each new process, and at its end, it would be copied page by page.
    gc.collect()
    gc.freeze()
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
            data, files, _, _ = socket.recv_fds(control, 1 << 20, 5)
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
    child = command in (CHILD, CONVERTING)
    if child:
        os.setsid()
        os.dup2(files[3], 3)
    os.closerange(4 if child else 3, 4096)
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
    if child:
        return functools.partial(_serve_calls, arguments[0])
    if command != "edgelift":
        module = importlib.import_module(command)
        sys.argv = [str(module.__file__), *arguments]
        return module.main
    if arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        return lambda: exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    sys.argv = ["-c", *arguments]
    return importlib.import_module("edgelift.cli").main


def _serve_calls(log: str) -> None:
    from multiprocessing.connection import Connection

    from edgelift_builder.child_program import serve as serve_calls

    pipe = Connection(3)
    sys.path[:] = pipe.recv()
    serve_calls(pipe, log, os.getppid())
