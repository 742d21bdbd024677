"""Have a wave's boards and their controls served enough to be compared? Counts of boards in, a word out. Pure.

A board is *expected* to be compared when it had this slot filled before the wave, and traffic: a first release has
nothing to be compared with, and where the plan lets boards go without traffic nobody waits for one that had none.
A wave whose expected boards can be drawn in too few ways can't be compared whatever they serve; nobody waits for it.

For whom is waited may not depend on who is in the wave. Were it every member, and some of the controls, the board that
ends the wait would be a member each time, and the controls that come as late as it did would be missing: where boards
that come late have a reason of their own to be slow, the wave would look slow (docs/gates.md has the figures). So a
class is waited for as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from edgelift_fleet.rollout.gates.draws import ways
from edgelift_fleet.rollout.gates.shares import suffices
from edgelift_fleet.rollout.gates.words import count

#: Of each class this share of its members must have served for the class to have been looked at at all: fewer find little.
HALF = 0.5

#: Of a class with at least so many members this share of all its boards is waited for; of one with fewer, all: a member
#: that happens to be among the last must not leave the class unmeasured.
_MANY, _MOST = 6, 0.9


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
        idle: has it served nothing at all since then?
    """

    hardware_class: str
    member: bool
    first: bool
    before: bool
    since: bool
    there: bool
    idle: bool = False


#: Boards that are alike → how many.
Boards = Mapping[WaveBoard, int]


@dataclass(frozen=True)
class Gathered:
    """How far a wave is.

    Attributes:
        comparable: could it be compared, had everybody served who is expected to?
        enough: can it be, by what they have served?
        ready: is nobody waited for any more?
        boards, served: members that are expected, and those of them that have served.
        controls, controls_served: the same of its controls.
        text: for people, while it waits.
        judged_on: for people, once it is judged: on whom, and what the others lack.
    """

    comparable: bool
    enough: bool
    ready: bool
    boards: int
    served: int
    controls: int
    controls_served: int
    text: str
    judged_on: str = ""


def gather(boards: Boards, alpha: float, min_requests: int, *, idle_allowed: bool) -> Gathered:
    """How far a wave is.

    Args:
        boards: of it, and its controls.
        alpha: false alarms that the wave may spend.
        min_requests: that a board needs in each stretch; for words.
        idle_allowed: may boards go without traffic, by the plan?
    """
    expected = _paired(_only(boards, lambda b: not b.first and (b.before or not idle_allowed)))
    served = _only(expected, lambda b: b.before and b.since)
    comparable = suffices(ways(_pairs(expected)), alpha)
    lacking = _lacking(expected, served)
    enough = comparable and not lacking and suffices(ways(_pairs(served)), alpha)
    ready = not comparable or _have_come(expected, served)
    numbers = (
        _number(expected, True), _number(served, True), _number(expected, False), _number(served, False),
    )  # fmt: skip
    if comparable:
        text = _progress(numbers, min_requests, lacking) + _before(expected)
    else:
        text = _why_not(boards, min_requests)
    return Gathered(comparable, enough, ready, *numbers, text, _judged_on(expected, served) if comparable else "")


def _only(boards: Boards, wanted: Callable[[WaveBoard], bool]) -> Counter[WaveBoard]:
    return Counter({board: number for board, number in boards.items() if wanted(board)})


def _paired(boards: Boards) -> Counter[WaveBoard]:
    """Those of classes that have boards on both sides: the others can't be compared whatever they serve."""
    mine, others = _by_class(boards, True), _by_class(boards, False)
    return _only(boards, lambda b: bool(mine[b.hardware_class] and others[b.hardware_class]))


def _number(boards: Boards, member: bool) -> int:
    return _by_class(boards, member).total()


def _by_class(boards: Boards, member: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    for board, number in boards.items():
        if board.member is member:
            found[board.hardware_class] += number
    return found


def _pairs(boards: Boards) -> list[tuple[int, int]]:
    mine, others = _by_class(boards, True), _by_class(boards, False)
    return [(mine[name], others[name]) for name in sorted({*mine, *others})]


def _lacking(expected: Boards, served: Boards) -> dict[str, tuple[int, int]]:
    """Classes that were not looked at → how many members of them have served, of how many."""
    mine_served, others_served = _by_class(served, True), _by_class(served, False)
    return {
        name: (mine_served[name], number)
        for name, number in sorted(_by_class(expected, True).items())
        if mine_served[name] < HALF * number or not others_served[name]
    }


def _have_come(expected: Boards, served: Boards) -> bool:
    """Has of each class served who can be waited for? Who is not there tells nothing, and what was before stays as it was;
    but where most of a class could not be compared, what is on its way may still come.
    """
    mine, others = _by_class(expected, True), _by_class(expected, False)
    mine_served, others_served = _by_class(served, True), _by_class(served, False)
    if any(mine_served[name] + others_served[name] < HALF * (mine[name] + others[name]) for name in mine):
        return False
    awaited, come = Counter[str](), Counter[str]()
    for board, number in expected.items():
        if board.before and board.there:
            awaited[board.hardware_class] += number
            come[board.hardware_class] += number * board.since
    return all(come[name] >= _wanted(mine[name], number) for name, number in awaited.items())


def _wanted(members: int, awaited: int) -> int:
    """Of so many boards of a class, how many are waited for."""
    return ceil(round(_MOST * awaited, 9)) if members >= _MANY else awaited


def _progress(numbers: tuple[int, int, int, int], min_requests: int, lacking: dict[str, tuple[int, int]]) -> str:
    boards, served, controls, controls_served = numbers
    where = ", ".join(f"{has} of {of} on {name}" for name, (has, of) in lacking.items())
    of_boards = f"{served} of {count(boards, 'board')}" + (f" ({where})" if where else "")
    of_controls = f"{controls_served} of {count(controls, 'control')}"
    return f"{of_boards} and {of_controls} have served their {count(max(min_requests, 1), 'request')}"


def _before(expected: Boards) -> str:
    """Who can't be compared any more, for it is too late for what was before."""
    boards, controls = (_number(_only(expected, lambda b: not b.before), member) for member in (True, False))
    if not boards and not controls:
        return ""
    return f" (before the wave {count(boards, 'board')} and {count(controls, 'control')} had not)"


def _judged_on(expected: Boards, served: Boards) -> str:
    """`judged on 7 of 12 boards: 3 had no requests, 2 too few; 38 of 40 controls`; empty where all have served."""
    told = []
    for member, noun in ((True, "board"), (False, "control")):
        every, has = _number(expected, member), _number(served, member)
        of = has if has == every else f"{has} of {every}"
        text = f"{of} {noun}" if of == 1 else f"{of} {noun}s"
        why = _why(expected, member)
        told.append(f"{text}: {why}" if why else text)
    missing = sum(expected.values()) - sum(served.values())
    return f"judged on {'; '.join(told)}" if missing else ""


def _why(expected: Boards, member: bool) -> str:
    """What those of a side lack that are not compared."""
    lacks = Counter[str]()
    for board, number in expected.items():
        if board.member is not member or (board.before and board.since):
            continue
        if not board.before:
            lacks["too few before"] += number
        elif not board.there:
            lacks["not there"] += number
        else:
            lacks["no requests" if board.idle else "too few requests"] += number
    words = {"too few before": "had too few requests before", "not there": "went away"}
    return ", ".join(
        f"{lacks[lack]} {words.get(lack, f'had {lack}')}"
        for lack in ("no requests", "too few requests", "not there", "too few before")
        if lacks[lack]
    )


def _why_not(boards: Boards, min_requests: int) -> str:
    if all(b.first for b in boards if b.member):
        return "the slot was empty before, so there is nothing to compare with"
    had = _only(boards, lambda b: b.before)
    mine, others = count(_number(boards, True), "board"), count(_number(boards, False), "control")
    return (
        f"too few have traffic: {_number(had, True)} of {mine} and {_number(had, False)} of {others} had served "
        f"{count(max(min_requests, 1), 'request')} before the wave"
    )
