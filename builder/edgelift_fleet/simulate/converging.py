"""From assignments to a simulated board's updates: what is wanted is compared with what is, and what is missing begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from edgelift_contract.assignment import Assignment
from edgelift_contract.report import UpdateReport
from edgelift_fleet.simulate.backoff import Backoff
from edgelift_fleet.simulate.board import SimulatedBoard
from edgelift_fleet.simulate.calls import Refused
from edgelift_fleet.simulate.counts import Counts
from edgelift_fleet.simulate.ending import ended
from edgelift_fleet.simulate.taking import Died, Taking


class Converging:
    """The updates of one board, in the running event loop; what was begun last holds, also over a restart."""

    def __init__(
        self, board: SimulatedBoard, counts: Counts, *, blob: Callable[[str], Awaitable[bytes]],
        changed: Callable[[], None], ended: Callable[[], None], die: Callable[[float], None],
    ) -> None:  # fmt: skip
        """Bind.

        Args:
            board: whose.
            counts: where it is counted.
            blob: fetches one by its digest; raises OSError or `Refused`.
            changed: told that there is something to report.
            ended: told that an update has ended: what its verdict was made of is to be told with it.
            die: told that the board goes off in the middle, and after how many seconds it is back; 0 for never.
        """
        self._board, self._counts, self._blob = board, counts, blob
        self._changed, self._ended, self._die = changed, ended, die
        self._news = asyncio.Event()
        self._wanted: Assignment | None = None
        self._updates: dict[str, tuple[Taking, asyncio.Task[None]]] = {}

    def want(self, assignment: Assignment) -> None:
        """This is what the board should run from now on."""
        self._wanted = assignment
        self._news.set()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The updates that are under way."""
        return [task for _, task in self._updates.values()]

    def interrupted(self) -> None:
        """The board has gone off; the tasks have ended."""
        for taking, _ in self._updates.values():
            taking.interrupted()
        self._updates = {}

    async def run(self) -> None:
        """Begin what is missing, whenever something else is wanted."""
        if self._wanted is not None:
            self._news.set()  # it was off in the middle: the last one that it heard of still holds
        while True:
            await self._news.wait()
            self._news.clear()
            assignment = self._wanted
            if assignment is not None:
                await self._begin(assignment)

    async def _begin(self, assignment: Assignment) -> None:
        gone, changed = self._board.wants(assignment)
        for name in (*gone, *changed):
            await self._supersede(name)
        for name in gone:
            self._board.slots.pop(name, None)
        for name in changed:
            wanted = assignment.slots[name]
            taking = Taking(self._board, name, wanted, assignment.revision, blob=self._blob, changed=self._changed)
            self._updates[name] = taking, asyncio.create_task(self._carry_out(name, taking))
        if not changed and not self._updates:
            self._board.applied = assignment.revision
            self._changed()

    async def _supersede(self, name: str) -> None:
        taking, task = self._updates.pop(name, (None, None))
        if taking is None or task is None:
            return
        await ended([task])
        taking.superseded()
        self._counts.updates["superseded"] += 1

    async def _carry_out(self, name: str, taking: Taking) -> None:
        try:
            ended = await self._to_its_end(taking)
        except Died as death:
            self._counts.updates["died"] += 1
            asyncio.get_running_loop().call_soon(self._die, death.back_s)
            return
        self._updates.pop(name, None)
        self._counts.updates[ended.outcome] += 1
        if ended.code:
            self._counts.by_code[ended.code] += 1
        if not self._updates and self._wanted is not None:
            self._board.applied = self._wanted.revision
        self._ended()

    async def _to_its_end(self, taking: Taking) -> UpdateReport:
        again = Backoff(self._board)
        while True:
            try:
                return await taking.run()
            except OSError as error:  # the link: it is carried out again
                self._counts.note(self._board.name, error)
            except Refused as error:
                self._counts.refused[error.code] += 1
            await again.wait()
