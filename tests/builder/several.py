"""Several builds, two at a time, each in a process where no other test's is."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from edgelift_builder.build import build
from edgelift_builder.child import Child
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from tests.builder.conftest import forked
from tests.forked import CHILD, CONVERTING


def build_each(requests: Sequence[Request], *, converting: bool) -> None:
    """Build them all; their children have torch's imports behind them, and litert-torch's where TFLite is made of modules.

    Raises:
        EdgeliftError: what a build raises.
    """
    # Spawned: a worker of pytest has threads, which a fork would not take along.
    context, command = multiprocessing.get_context("spawn"), CONVERTING if converting else CHILD
    with ProcessPoolExecutor(2, context, initializer=_fork_children, initargs=(command,)) as pool:
        list(pool.map(_build, requests))


def _fork_children(command: str) -> None:
    Child.start = forked(command)


def _build(request: Request) -> None:
    build(request, Quiet())
