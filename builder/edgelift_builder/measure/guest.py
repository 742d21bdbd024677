"""Processes inside the emulated machine that run artifacts one after another, see `emulated_guest`.

Their start, with Python's and the runtime's imports, takes longer under qemu than an artifact's goldens do, so one
process serves a processor's candidates in turn. One that ended, or did not answer in time, is not asked again.
"""

from __future__ import annotations

import select
import subprocess
import tempfile
from collections.abc import Callable, Sequence

import msgspec

from edgelift_builder.exceptions import summarise
from edgelift_builder.measure.emulated_guest import Emulation, Order
from edgelift_contract.errors import DeviceError


class GuestEndedError(Exception):
    """The process ended over an artifact; its text is the last that it said."""


class Guest:
    """One such process; `close` ends it.

    Attributes:
        process: itself.
    """

    def __init__(self, command: Sequence[str]) -> None:
        """Start it.

        Raises:
            DeviceError: `tool-missing` where it does not start.
        """
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, cwd="/", bufsize=0
            )
        except OSError as error:
            self._said.close()
            raise _not_run(summarise(error)) from error

    def ask(self, order: Order, timeout_s: float) -> Emulation:
        """Run one artifact.

        Raises:
            GuestEndedError: it ended instead.
            DeviceError: `tool-missing` where no answer came in time.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(msgspec.json.encode(order) + b"\n")
        except BrokenPipeError:
            raise GuestEndedError(self._last_words()) from None
        poller = select.poll()
        poller.register(self.process.stdout, select.POLLIN)
        if not poller.poll(timeout_s * 1000):
            self.close()
            raise _not_run(f"it did not answer within {timeout_s:g} seconds")
        answer = self.process.stdout.readline()
        if not answer.endswith(b"\n"):
            raise GuestEndedError(self._last_words())
        return msgspec.json.decode(answer, type=Emulation)

    def _last_words(self) -> str:
        self.process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no words"

    def close(self) -> None:
        """End it. Safe to call twice."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._said):
            if pipe is not None:
                pipe.close()


class Guests:
    """One process after another: as long as candidates are of one processor they share one. Use it as a context manager.

    Args:
        start: makes a process on a processor, by qemu's name of it.
    """

    def __init__(self, start: Callable[[str], Guest]) -> None:
        self._start, self._cpu = start, ""
        self._guest: Guest | None = None

    def __enter__(self) -> Guests:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def ask(self, cpu: str, order: Order, timeout_s: float) -> Emulation:
        """Run one artifact there. Where a process ends that ran others before, a new one says whose fault it was.

        Raises:
            GuestEndedError: a new process ended over it.
            DeviceError: `tool-missing` where none can be started, or no answer came in time.
        """
        shared = self._guest is not None and self._cpu == cpu
        if self._guest is None or not shared:
            self._close()
            self._guest, self._cpu = self._start(cpu), cpu
        try:
            return self._guest.ask(order, timeout_s)
        except DeviceError:
            self._close()
            raise
        except GuestEndedError:
            self._close()
            if not shared:
                raise
        return self.ask(cpu, order, timeout_s)

    def _close(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None


def _not_run(why: str) -> DeviceError:
    return DeviceError("tool-missing", f"qemu did not run the artifact: {why}.")
