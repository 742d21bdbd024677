"""Told to end: what a build must not leave behind, and how it goes away.

`listen` makes SIGINT, SIGTERM and SIGHUP end the process from wherever it is: its children are killed, whatever
they started included; the folders registered with `removed` go; the exit code is 128 + the signal. All of that
happens in the handler and never by an exception: an exception may fall into a `finally`, a library's bare `except`
or the middle of another clean-up, and gets lost there or leaves half of it.

`done` is the point of no return: once the release has its name, a signal comes too late to undo it.

A signal that comes in the instant before the main thread begins to wait, or that another thread is given, doesn't wake
it: what it waits for may come in half an hour, or never. So a thread of its own wakes it after each (`_insist`).

What was ignored when the process started: SIGHUP stays so, for that is what `nohup` asks for; SIGINT does not, for
a script's background jobs have it ignored without anybody asking, and a build that is sent one ends.

Not its business: `kill -9`. Children notice that themselves (`child`), folders are swept by the next build (`staging`).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Longest wait for killed children to be gone, seconds: they are only waited for so that none writes any more.
#: A busy machine takes its time to take the memory of a large one back.
_KILL_S = 10.0

#: How often the main thread is woken after a signal, and how long apart, seconds: each time it may just be about to wait.
_WAKES, _WAKE_S = 20, 0.05
#: Wakes the main thread and does nothing else; by default nobody hears it, and children begin with that.
_WAKE = signal.SIGURG

#: Linux `prctl.h`: orphans of our children become ours, so that a child's death hides none of what it started.
_PR_SET_CHILD_SUBREAPER = 36

#: Folder → the parents made for it, nearest first, which go too when they are empty.
_folders: dict[Path, Sequence[Path]] = {}
_listening: list[signal.Signals] = []
_holding = False
_waiting: list[int] = []


def listen() -> None:
    """Have the signals end this process as said above. Once, early, in the main thread."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
            _listening.append(number)
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    signal.signal(_WAKE, _nothing)
    threading.Thread(target=_insist, args=(reads, threading.get_ident()), name="signals", daemon=True).start()
    # While the interpreter goes, it gives the signals their usual effect back: a build that was done would end by one.
    atexit.register(_ignore)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextlib.contextmanager
def removed(folder: Path, made_for_it: Sequence[Path] = ()) -> Iterator[None]:
    """`folder`, which need not exist yet, is gone when the context ends, however it ends."""
    _folders[folder] = made_for_it
    try:
        yield
    finally:
        _remove(folder, made_for_it)
        _folders.pop(folder, None)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait until the context ends: for the few calls that only make sense together.

    The handler itself waits. A signal mask would not do: it is one thread's, and any other one takes the signal then.
    """
    global _holding
    _holding = True
    try:
        yield
    finally:
        _holding = False
        if _waiting:
            _end(_waiting.pop(), None)


def done() -> None:
    """Nothing is to be undone any more. A signal has no effect now, the second of its kind the usual one."""
    for number in _listening:
        signal.signal(number, _too_late)
    _waiting.clear()


def kill_children(timeout_s: float = _KILL_S) -> None:
    """Kill every process below this one and wait until none runs, for `timeout_s` at most."""
    me = psutil.Process()
    deadline = time.monotonic() + timeout_s
    while True:
        running = [child for child in me.children(recursive=True) if _runs(child)]
        for child in running:
            with contextlib.suppress(psutil.Error):
                child.kill()
        if not running or time.monotonic() > deadline:
            return
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Is there another process of this number: whose it is cannot be known."""
    return pid != os.getpid() and psutil.pid_exists(pid)


def _insist(reads: int, main: int) -> None:
    """Wake the main thread after every signal, until its handler must have run; calls that it interrupts go on."""
    while came := os.read(reads, 64):
        if set(came) - {_WAKE}:
            for _ in range(_WAKES):
                signal.pthread_kill(main, _WAKE)
                time.sleep(_WAKE_S)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """That it was called has done it."""


def _ignore() -> None:
    for number in _listening:
        signal.signal(number, signal.SIG_IGN)


def _end(number: int, _frame: FrameType | None) -> None:
    if _holding:
        _waiting.append(number)
        return
    for other in _listening:
        signal.signal(other, _nothing)  # not SIG_IGN: one that had come already would be told as a fault
    try:
        kill_children()
        for folder, made_for_it in list(_folders.items()):
            _remove(folder, made_for_it)
        clear = "\r\x1b[2K\x1b[?25h" if os.isatty(2) else ""  # the bar's line, and the cursor that it hides
        _, takes, _ = select.select([], [2], [], 0)
        if takes:  # a full pipe or a stopped terminal that nobody reads would hold us for ever
            os.write(2, f"{clear}Ended by {signal.Signals(number).name}: no release was written.\n".encode())
    finally:
        os._exit(128 + number)


def _too_late(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)


def _remove(folder: Path, made_for_it: Sequence[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path in made_for_it:
        try:
            path.rmdir()  # only an empty one goes: nothing was written
        except OSError:
            break


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
