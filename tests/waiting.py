"""Waiting for a state, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Longer than any state takes on a busy machine, seconds: whoever waits in vain waits so long, nobody else does.
LONG_S = 180.0


def until(condition: Callable[[], object], what: str = "the state", timeout_s: float = LONG_S) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: it did not become so.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)
