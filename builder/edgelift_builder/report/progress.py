"""How far a build is: a bar on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from edgelift_contract.text import clean


class Quiet:
    """Shows nothing: for tests and `--json`."""

    def total(self, stages: int) -> None:
        """Shows nothing."""

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Shows nothing."""
        del text
        yield


class Lines:
    """A line on standard error for each stage as it begins, flushed: for pipes and logs, where a bar would be noise."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._total = self._count = 0

    def total(self, stages: int) -> None:
        """How many stages there will be; a search adds to them."""
        self._total = stages

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Name the stage as it begins, with the seconds since the build's begin."""
        self._count += 1
        whole = max(self._total, self._count)
        with suppress(OSError):  # whoever read it is gone: no reason to stop building
            print(
                f"[{self._count}/{whole}] {time.monotonic() - self._began:.0f} s  {clean(text)}",
                file=self._stream, flush=True,
            )  # fmt: skip
        yield


class Bar:
    """A bar on standard error, with what is being done now. A context manager."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
            TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._task: TaskID = self._bar.add_task("Starting", total=None)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def total(self, stages: int) -> None:
        """How many stages there will be."""
        self._bar.update(self._task, total=stages)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Name the stage while it lasts; count it when done."""
        self._bar.update(self._task, description=clean(text))
        yield
        self._bar.advance(self._task)
