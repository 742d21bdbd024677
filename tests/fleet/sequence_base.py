"""What sequences of calls are played on: a whole control plane in this process, its clock, and what a test knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment
from edgelift_contract.telemetry import Window
from edgelift_fleet.tables import AssignmentRow
from tests.fleet.owned import rows_of
from tests.fleet.played_server import Answer, Clock, InProcess
from tests.fleet.speaking import Board

NAMES = ("pi-1", "pi-2", "pi-3")
RELEASES = ("digits@1", "digits@2", "digits@3")
BOARDS = st.sampled_from(NAMES)
REFUSED = {400, 404, 409, 413, 429}


class Played(RuleBasedStateMachine):
    """The parts that rules and laws share.

    Attributes:
        template, releases: a site to begin from, and what was published in it.
        items, received: telemetry that was delivered; windows that count, with when and whose.
        doubted, said: boards whose numbers are doubted; (board, rollout) that said it has committed.
        started, committed: rollouts with when, probation and least requests; (rollout, board) that were seen committed.
    """

    template: Path
    releases: dict[str, Path]
    server: InProcess
    clock: Clock
    boards: dict[str, Board]
    items: dict[tuple[str, str, int], Any]
    received: list[tuple[float, str, Window]]
    doubted: set[str]
    said: set[tuple[str, str]]
    started: dict[str, tuple[float, float, int]]
    committed: set[tuple[str, str]]
    revisions: dict[str, int]

    @contextmanager
    def speaks(self, name: str) -> Iterator[None]:
        """Inside the block only this board speaks: the others' rows stay as they are."""
        others = [other for other in NAMES if other != name]
        with self.server.db.read() as session:
            before = rows_of(session, others)
        yield
        with self.server.db.read() as session:
            assert rows_of(session, others) == before

    def tell(self, name: str, method: str, path: str, data: bytes) -> Answer:
        with self.speaks(name):
            answer = self.server.ask(method, path, data, who="enrolment")
        assert answer.status in {200, *REFUSED}, (path, answer)
        return answer

    def order(self, method: str, path: str, body: Any = None) -> Answer:
        answer = self.server.ask(method, path, body)
        assert answer.status in {200, *REFUSED}, (method, path, body, answer)
        return answer

    def assigned(self, name: str) -> Assignment | None:
        with self.server.db.read() as session:
            row = session.get(AssignmentRow, name)
        return codec.decode_json(row.body.encode(), Assignment, what="assignment") if row else None

    def get(self, path: str, kind: Any) -> Any:
        answer = self.server.ask("GET", path)
        assert answer.status == 200, (path, answer)
        return codec.decode_json(answer.data, kind, what="answer")
