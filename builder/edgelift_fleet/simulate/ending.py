"""The end of tasks of an event loop that may miss that they were cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.2


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them until all have ended, whatever came of each.

    Once is not enough: before Python 3.12 `asyncio.wait_for` gives its caller the failure of a connection in the place of
    a cancellation that came at the same moment (cpython#86296), and who waits for ever to try again never hears of it.
    """
    left = list(tasks)
    while left:
        for task in left:
            task.cancel()
        done, pending = await asyncio.wait(left, timeout=_AGAIN_S)
        await asyncio.gather(*done, return_exceptions=True)  # looked at, so that none is told of as forgotten
        left = list(pending)
