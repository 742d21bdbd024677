"""Waits after failures: at random below a bound that doubles, so that many boards do not knock in step."""

from __future__ import annotations

import asyncio

from edgelift_fleet.simulate.board import SimulatedBoard


class Backoff:
    """Of one of a board's links."""

    def __init__(self, board: SimulatedBoard) -> None:
        self._rng = board.rng
        self._first_s, self._most_s = board.profile.retry_first_s, board.profile.retry_most_s
        self._failures = 0

    def reset(self) -> None:
        """It went well."""
        self._failures = 0

    async def wait(self) -> None:
        """It failed, once more in a row."""
        most_s = min(self._most_s, self._first_s * 2 ** min(self._failures, 16))
        self._failures += 1
        await asyncio.sleep(most_s * float(self._rng.random()))
