"""A whole rollout in memory: boards that do as they please, a person who orders at random, and `decide` in the middle.

Nothing here knows the database or the judge: what a board is about to do, whether it is there, and what it was assigned
are a handful of fields, and the status that `decide` sees follows from them by the words of `situation`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from edgelift_fleet.rollout.decide import decide
from edgelift_fleet.rollout.decisions import Advance, Finish, Hold, HoldBack, Pause, RollBack
from edgelift_fleet.rollout.ends import outcomes
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import TERMINAL, DeviceSeen, Observations


@dataclass
class Board:
    """One board: `has_new` is what it serves, `wants_new` what it was assigned, as far as it was there to learn it."""

    name: str
    bad: bool
    there: bool = True
    wave: int = -1
    wants_new: bool = False
    knows: bool = False  # of what it was assigned last
    begun: bool = False
    has_new: bool = False
    ended: str = ""
    held: bool = False
    going_back: bool = False
    released: bool = False
    told_at: float = 0.0
    since: float = 0.0
    status: str = ""

    def judge(self, selected: bool, now: float, deadline_s: float) -> str:
        if self.released:
            return "let-go"
        if self.going_back:
            if not self.has_new and self.knows:
                return "restored"
            return "updating" if self.there else "offline"
        if self.held:
            return "held"
        if not selected:
            return "left"
        if self.ended:
            return self.ended
        late = now >= self.told_at + deadline_s
        if self.begun:
            return "silent" if late else "updating"
        if not self.there:
            return "offline"
        return "silent" if late else "waiting"


@dataclass
class Play:
    """A rollout to be played to its end."""

    plan: Plan
    size: int
    seed: int
    p_bad: float
    now: float = 0.0
    state: str = "running"
    wave: int = -1
    back: str = ""
    approved: int = 1
    ordered_back: bool = False
    failed_ever: int = 0
    reached: dict[str, Board] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.boards = {f"d{n:02}": Board(f"d{n:02}", self.chance.random() < self.p_bad) for n in range(self.size)}
        self.cohort = list(self.boards)
        for board in self.boards.values():
            board.there = self.chance.random() < 0.8

    def to_the_end(self) -> Finish:
        for turn in range(5000):
            decision = decide(self.plan, self.see(), self.now)
            self._act(decision)
            if self.state in TERMINAL:
                return decision if isinstance(decision, Finish) else self.ended
            self._world(calm=turn > 300)
        raise AssertionError(f"it does not end: {decision} {self.see()}")

    def see(self) -> Observations:
        devices = []
        for board in self.reached.values():
            status = board.judge(board.name in self.cohort, self.now, self.plan.deadline_s)
            if status != board.status:
                board.status, board.since = status, self.now
                self.failed_ever += status in ("failed", "silent")
            devices.append(
                DeviceSeen(board.name, board.wave, status, board.since, board.told_at, going_back=board.going_back)
            )
        away = frozenset(name for name in self.cohort if not self.boards[name].there)
        return Observations(
            self.state, self.wave, list(self.cohort), devices, away, back=self.back, approved=self.approved
        )

    def _act(self, decision: object) -> None:
        match decision:
            case Advance(wave, devices, _):
                self.wave = wave
                self._assign(devices)
            case Hold(_, join, _):
                self._assign(join)
            case HoldBack(devices, _):
                for name in devices:
                    board = self.reached[name]
                    board.held, board.knows = True, not board.told_at
                    board.wants_new = False
            case Pause():
                self.state = "paused"
            case RollBack(devices, _, scope):
                self.state, self.back = "rolling-back", scope
                for name in devices:
                    board = self.reached[name]
                    board.going_back, board.wants_new, board.held, board.released = True, False, False, False
                    # Who never was there to learn of the release has nothing to undo.
                    board.knows = not board.there and not board.begun and not board.has_new and not board.told_at
            case Finish(state, _, _, let_go):
                for name in let_go:
                    self.reached[name].released = True
                self.state = state

    def _assign(self, names: tuple[str, ...]) -> None:
        for name in names:
            board = self.reached.setdefault(name, self.boards[name])
            assert board.name in self.cohort and (board.wave < 0 or board.held)
            board.wave = self.wave if board.wave < 0 else board.wave
            board.wants_new, board.knows, board.held, board.begun, board.ended = True, False, False, False, ""
            board.told_at = self.now

    def _world(self, *, calm: bool) -> None:
        """A while passes; once it is calm everybody comes, answers, and the person lets it end."""
        self.now += self.chance.choice([1.0, 1.0, 5.0, 30.0])
        for board in self.boards.values():
            self._live(board, calm)
        if not calm and self.chance.random() < 0.05 and len(self.cohort) > 1:
            self.cohort.remove(self.chance.choice(self.cohort))
        if calm or self.chance.random() < 0.1:
            self._order(calm)

    def _live(self, board: Board, calm: bool) -> None:
        if calm or self.chance.random() < 0.2:
            was, board.there = board.there, calm or self.chance.random() < 0.7
            if board.there and not was and board.wants_new and not board.begun:
                board.told_at = self.now
        if not board.there or self.chance.random() < 0.3:
            return
        board.knows = True
        if board.wants_new and not board.begun:
            board.begun = True
        elif board.wants_new and not board.ended:
            board.ended, board.has_new = ("failed", False) if board.bad else ("committed", True)
        elif not board.wants_new:
            board.has_new = False

    def _order(self, calm: bool) -> None:
        commands = {
            "running": ["pause", "approve", "let-go", "rollback"],
            "paused": ["resume", "cancel", "rollback"],
        }
        if calm:
            commands = {"running": ["approve"], "paused": ["rollback"]}
        command = self.chance.choice(commands.get(self.state, [""]))
        if command == "approve":
            asked = decide(self.plan, self.see(), self.now)
            self.approved = (asked.approval if isinstance(asked, Hold) else 0) or self.wave + 2
        elif command in ("pause", "resume"):
            self.state = {"pause": "paused", "resume": "running"}[command]
        elif command == "rollback" and (calm or self.chance.random() < 0.2):
            self.state, self.back, self.ordered_back = "rolling-back", "all", True
        elif command == "cancel" and self.chance.random() < 0.2:
            seen = self.see()
            self.state, self.ended = "cancelled", Finish("cancelled", "", outcomes(seen))
        elif command == "let-go" and self.reached and self.chance.random() < 0.3:
            board = self.chance.choice(list(self.reached.values()))
            board.released = board.status not in ("committed", "restored")
