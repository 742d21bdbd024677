"""Have a wave's boards and their controls served enough to be compared? Counts of boards in, a word out. Pure.

A board is *expected* to be compared when it had this slot filled before the wave, and traffic: a first release has
nothing to be compared with, and where the plan lets boards go without traffic nobody waits for one that had none.
A wave whose expected boards can be drawn in too few ways can't be compared whatever they serve; nobody waits for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgelift_fleet.rollout.gates.draws import ways
from edgelift_fleet.rollout.gates.shares import suffices
from edgelift_fleet.rollout.gates.words import count

#: Of each class this share of its members must have served for the class to have been looked at at all, and this share
#: of its controls is waited for: fewer find little, and one board that nobody asks any more must not stop the others.
HALF = 0.5


@dataclass(frozen=True)
class WaveBoard:
    """A board of a wave, or a control.

    Attributes:
        hardware_class: of it.
        member: is it in the wave?
        first: had it nothing in the slot before?
        before: had it served its least requests before the wave?
        since: has it, since the wave's swaps, in the same throttle state?
        there: is it heard of now?
    """

    hardware_class: str
    member: bool
    first: bool
    before: bool
    since: bool
    there: bool


@dataclass(frozen=True)
class Gathered:
    """How far a wave is.

    Attributes:
        comparable: could it be compared, had everybody served who is expected to?
        enough: can it be, by what they have served?
        ready: is nobody waited for any more?
        boards, served: members that are expected, and those of them that have served.
        controls, controls_served: the same of its controls.
        text: for people.
    """

    comparable: bool
    enough: bool
    ready: bool
    boards: int
    served: int
    controls: int
    controls_served: int
    text: str


def gather(boards: Sequence[WaveBoard], alpha: float, min_requests: int, *, idle_allowed: bool) -> Gathered:
    """How far a wave is.

    Args:
        boards: of it, and its controls.
        alpha: false alarms that the wave may spend.
        min_requests: that a board needs in each stretch; for words.
        idle_allowed: may boards go without traffic, by the plan?
    """
    expected = _paired([b for b in boards if not b.first and (b.before or not idle_allowed)])
    served = [b for b in expected if b.before and b.since]
    comparable = suffices(ways(_pairs(expected)), alpha)
    lacking = _lacking(expected, served)
    enough = comparable and not lacking and suffices(ways(_pairs(served)), alpha)
    ready = not comparable or (enough and _all_came(expected))
    mine, others = _sides(expected)
    mine_served, others_served = _sides(served)
    numbers = (len(mine), len(mine_served), len(others), len(others_served))
    if comparable:
        text = _progress(numbers, min_requests, lacking) + _before(mine, others)
    else:
        text = _why_not(boards, min_requests)
    return Gathered(comparable, enough, ready, *numbers, text)


def _paired(boards: Sequence[WaveBoard]) -> list[WaveBoard]:
    """Those of classes that have boards on both sides: the others can't be compared whatever they serve."""
    mine, others = _by_class(boards)
    return [b for b in boards if mine[b.hardware_class] and others[b.hardware_class]]


def _sides(boards: Sequence[WaveBoard]) -> tuple[list[WaveBoard], list[WaveBoard]]:
    return [b for b in boards if b.member], [b for b in boards if not b.member]


def _by_class(boards: Sequence[WaveBoard]) -> tuple[Counter[str], Counter[str]]:
    mine, others = _sides(boards)
    return Counter(b.hardware_class for b in mine), Counter(b.hardware_class for b in others)


def _pairs(boards: Sequence[WaveBoard]) -> list[tuple[int, int]]:
    mine, others = _by_class(boards)
    return [(mine[name], others[name]) for name in sorted({*mine, *others})]


def _lacking(expected: Sequence[WaveBoard], served: Sequence[WaveBoard]) -> dict[str, tuple[int, int]]:
    """Classes that were not looked at → how many members of them have served, of how many."""
    (mine, others), (mine_served, others_served) = _by_class(expected), _by_class(served)
    return {
        name: (mine_served[name], number)
        for name, number in sorted(mine.items())
        if others[name] and (mine_served[name] < HALF * number or not others_served[name])
    }


def _all_came(expected: Sequence[WaveBoard]) -> bool:
    """Has everybody served that can be waited for? Who is not there tells nothing, and what was before stays as it was."""
    mine, others = _sides([b for b in expected if b.before and b.there])
    classes = {b.hardware_class for b in mine}
    came = Counter(b.hardware_class for b in others if b.since)
    wanted = Counter(b.hardware_class for b in others)
    return all(b.since for b in mine) and all(came[name] >= HALF * wanted[name] for name in classes)


def _progress(numbers: tuple[int, int, int, int], min_requests: int, lacking: dict[str, tuple[int, int]]) -> str:
    boards, served, controls, controls_served = numbers
    where = ", ".join(f"{has} of {of} on {name}" for name, (has, of) in lacking.items())
    of_boards = f"{served} of {count(boards, 'board')}" + (f" ({where})" if where else "")
    of_controls = f"{controls_served} of {count(controls, 'control')}"
    return f"{of_boards} and {of_controls} have served their {count(max(min_requests, 1), 'request')}"


def _before(mine: Sequence[WaveBoard], others: Sequence[WaveBoard]) -> str:
    """Who can't be compared any more, for it is too late for what was before."""
    boards, controls = (sum(not b.before for b in side) for side in (mine, others))
    if not boards and not controls:
        return ""
    return f" (before the wave {count(boards, 'board')} and {count(controls, 'control')} had not)"


def _why_not(boards: Sequence[WaveBoard], min_requests: int) -> str:
    mine, others = _sides(boards)
    if all(b.first for b in mine):
        return "the slot was empty before, so there is nothing to compare with"
    had = [sum(b.before for b in side) for side in (mine, others)]
    return (
        f"too few have traffic: {had[0]} of {count(len(mine), 'board')} and {had[1]} of {count(len(others), 'control')} had "
        f"served {count(max(min_requests, 1), 'request')} before the wave"
    )
