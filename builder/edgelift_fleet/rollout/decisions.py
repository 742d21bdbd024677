"""What `decide` may answer: each thing that a rollout can do next. Words only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgelift_fleet.rollout.situation import RolloutState, Scope


@dataclass(frozen=True)
class Advance:
    """Begin wave `wave` with these devices."""

    wave: int
    devices: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Hold:
    """Wait.

    Attributes:
        reason: for what; for people.
        join: devices that the current wave takes in meanwhile.
        until: when time alone will change this decision, host's clock, seconds since 1970; 0 for never.
        approval: the wave that a person has to approve, from 1; 0 for none.
    """

    reason: str
    join: tuple[str, ...] = ()
    until: float = 0.0
    approval: int = 0


@dataclass(frozen=True)
class Compare:
    """Have the gate take look `look` (from 1) at the current wave, by what was served since `since` (1970, seconds)."""

    look: int
    since: float


@dataclass(frozen=True)
class Count:
    """Count who of the wave and its controls has served enough since `since` (1970, seconds), and decide again with that."""

    since: float


@dataclass(frozen=True)
class HoldBack:
    """Paused: take back what these devices were assigned and have not begun."""

    devices: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Pause:
    """Stop and let a person look."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """Give these devices back what they had before; `scope` says who else is to follow."""

    devices: tuple[str, ...]
    reason: str
    scope: Scope


@dataclass(frozen=True)
class Finish:
    """It has ended, in `state`: every device by its outcome, and those that this end lets go."""

    state: RolloutState
    reason: str
    outcomes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    let_go: tuple[str, ...] = ()


Decision = Advance | Hold | Compare | Count | HoldBack | Pause | RollBack | Finish
