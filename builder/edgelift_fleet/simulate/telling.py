"""What a simulated board tells: its reports and its telemetry, again and again until the host has confirmed them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from edgelift_contract import codec, routes
from edgelift_contract.pacing import rest_s
from edgelift_fleet.simulate.backoff import Backoff
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.calls import Refused
from edgelift_fleet.simulate.counts import Counts


class Send(Protocol):
    """The way to the host."""

    async def __call__(self, topic: str, method: str, path: str, data: bytes, /, *, retain: bool = False) -> None:
        """Send a message over whichever link stands; raises OSError to try again, `Refused` for good."""


class BoardTelling:
    """Of one board, in the running event loop."""

    def __init__(self, board: SimulatedBoard, counts: Counts, send: Send, *, linked: Callable[[], bool]) -> None:
        """Bind; `linked`: can the host hear the board now?"""
        self._board, self._counts, self._send, self._linked = board, counts, send, linked
        self._due = asyncio.Event()
        self._report_due = self._batch_due = False
        self._again = Backoff(board)
        self._rest_until = 0.0

    def report(self) -> None:
        """There is something to report."""
        self._report_due = True
        self._due.set()

    def windows(self) -> None:
        """What was measured so far is to be sent."""
        self._batch_due = True
        self._due.set()

    async def run(self) -> None:
        """Tell what is due, for ever."""
        while True:
            await self._due.wait()
            self._due.clear()
            if not self._linked():
                continue  # the next connection sets it again
            if not self._report_due and (left_s := self._rest_until - time.monotonic()) > 0:
                # Until it has rested, or something else is due: a report does not rest.
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._due.wait(), left_s)
                self._due.set()
                continue
            try:
                await self.all_that_is_due()
                self._again.reset()
            except OSError as error:
                self._counts.note(self._board.name, error)
                await self._again.wait()
                self._due.set()

    async def all_that_is_due(self) -> None:
        """Telemetry first: when the host reads that an update has ended, it has what that was judged by.

        Raises:
            OSError: the link failed; what was not confirmed is still due.
        """
        await self._tell_batches()
        await self._tell_report()

    async def _tell_batches(self) -> None:
        # Up to what waited when it began: a board that is served slowly would else follow its own windows for ever.
        newest = self._board.waiting[-1].seq if self._board.waiting else -1
        last = -1
        while self._batch_due and last < newest and (made := self._board.batch()) is not None:
            batch, last = made
            began = time.monotonic()
            topic, path = routes.telemetry_topic(self._board.name), routes.telemetry_path(self._board.name)
            try:
                await self._send(topic, "POST", path, codec.canonical_json(batch))
            except Refused as error:
                self._counts.refused[error.code] += 1  # what is wrong stays wrong: it goes
            self._board.confirmed(last)
            now = time.monotonic()
            self._rest_until = now + rest_s(now - began)
            self._counts.batches += 1
            self._counts.windows += sum(item.window is not None for item in batch.items)
        self._batch_due = False

    async def _tell_report(self) -> None:
        if not self._report_due:
            return
        self._report_due = False
        report = codec.canonical_json(self._board.next_report())
        topic, path = routes.reported_topic(self._board.name), routes.report_path(self._board.name)
        try:
            await self._send(topic, "PUT", path, report, retain=True)
            self._counts.reports += 1
        except Refused as error:
            self._counts.refused[error.code] += 1
        except OSError:
            self._report_due = True
            raise
