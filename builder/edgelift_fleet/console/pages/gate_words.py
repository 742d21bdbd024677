"""A gate's tile: what was found of it, what is allowed, on whom it rests, and how often it is wrong. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgelift_fleet.console.pages.gate_picture import GatePicture, picture
from edgelift_fleet.console.words import many, percent
from edgelift_fleet.messages import LookContrast, RolloutLook
from edgelift_fleet.rollout.gates.measure import SERIES
from edgelift_fleet.rollout.looking import clock
from edgelift_fleet.rollout.plan import Plan

#: gate → what its tile is called.
TITLES = {"latency": "Latency", "errors": "Errors", "silence": "Silence"}


class Tile(msgspec.Struct, frozen=True):
    """A gate of the current wave.

    Attributes:
        gate: its name in the plan.
        word: `allowed`, `breach`, `unmeasured`, `waiting` or `none`: as its state is shown.
        finding: what was found, and what is allowed.
        counted: on how many it rests.
        rate: how often it would be wrong.
        note: what else is to be known, as why nothing is compared.
        contrast: the comparison that came nearest to a breach; None before there is one.
        picture: the same, drawn.
    """

    gate: str
    title: str
    word: str
    finding: str
    counted: str = ""
    rate: str = ""
    note: str = ""
    contrast: LookContrast | None = None
    picture: GatePicture | None = None


class Watched(msgspec.Struct, frozen=True):
    """How the current wave is watched: its share of the false alarms (0: it can't be compared), whether a person went on in
    spite of its gate, the newest look at it, why it can't be compared, and when it is looked at first, for people.
    """

    alpha: float = 0.0
    overruled: bool = False
    look: RolloutLook | None = None
    why: str = ""
    first: str = ""


def tiles(plan: Plan, watched: Watched, now: float) -> list[Tile]:
    """One tile for each gate of the plan."""
    return [_tile(name, plan, watched, now) for name in plan.gates]


def moved(series: str, share: float) -> str:
    """A shift in words: `+1.2 %`, or `+0.4 points` of a share."""
    if series.startswith("latency"):
        return percent(share)
    return percent(share).removesuffix(" %") + " points"


def limit(one: LookContrast) -> str:
    """What is allowed: `+5 %`, `+0.5 points`."""
    return f"+{_plain(one.allowed)} {'%' if one.series.startswith('latency') else 'points'}"


def found(one: LookContrast) -> str:
    """A shift with its interval: `+1.2 % (−0.8 to +3.1)`."""
    if one.low is None or one.high is None:
        return moved(one.series, one.shift)
    low, high = (percent(end).removesuffix(" %") for end in (one.low, one.high))
    return f"{moved(one.series, one.shift)} ({low} to {high})"


def of_gate(name: str, contrasts: Sequence[LookContrast]) -> list[LookContrast]:
    """The comparisons of a gate, worst first as they came."""
    return [one for one in contrasts if one.series in SERIES[name]]


def worst_of(name: str, contrasts: Sequence[LookContrast]) -> str:
    """How far a gate is, in a few words; empty where nothing was compared."""
    mine = of_gate(name, contrasts)
    return f"{what(mine[0])} {found(mine[0])}" if mine else ""


def what(one: LookContrast) -> str:
    """What was compared: `p95`, `p95 on arm64-neon`."""
    series = one.series.removeprefix("latency ")
    return f"{series} on {one.hardware_class}" if one.hardware_class else series


def condition_of(name: str, plan: Plan, wave: int) -> str:
    """What a wave may not be found to be."""
    if name == "latency":
        return f"wave {wave} isn’t found to be slower than its controls by more than {_plain(plan.gate_slower)} %"
    if name == "errors":
        return f"wave {wave} isn’t found to fail more often than they do by more than {_plain(plan.gate_more_errors)} points"
    return f"wave {wave} isn’t found to fall silent more often than they do"


def _tile(name: str, plan: Plan, watched: Watched, now: float) -> Tile:
    title, look = TITLES[name], watched.look
    allowed = _allowed(name, plan)
    if watched.overruled:
        return Tile(
            name, title, "none", "Compared no more", note="A person went on with this wave in spite of its gate."
        )
    if not watched.alpha:
        why = watched.why or "The wave has not begun."
        return Tile(name, title, "none", "Not compared", note=why[0].upper() + why[1:])
    rate = f"False alarm at most {_one_in(plan.gate_alpha)} over the whole rollout, {_one_in(watched.alpha)} for this wave."
    if look is None:
        return Tile(name, title, "waiting", f"{allowed[0].upper()}{allowed[1:]}", rate=rate, note=watched.first)
    mine = of_gate(name, look.figures.contrasts)
    told = f"Look {look.look} of {look.figures.of}, at {clock(look.at, now)}."
    if not mine:
        return Tile(
            name,
            title,
            "unmeasured",
            f"Nothing could be compared; {allowed}",
            rate=rate,
            note=f"{told} {_follows(plan, look)}".strip(),
        )
    worst = mine[0]
    breach = look.breach and look.figures.contrasts[0].series in SERIES[name]
    word = "breach" if breach else "unmeasured" if look.unmeasured and name != "silence" else "allowed"
    counted = f"{many(worst.members, 'board')} against {many(worst.controls, 'control')}"
    note = f"{told} {_follows(plan, look)}".strip()
    return Tile(
        name, title, word, f"{what(worst)} {found(worst)}, {allowed}", counted, rate, note, worst, picture(worst)
    )


def _allowed(name: str, plan: Plan) -> str:
    if name == "latency":
        return f"allowed +{_plain(plan.gate_slower)} %"
    return (
        f"allowed +{_plain(plan.gate_more_errors)} points"
        if name == "errors"
        else "allowed: no more than controls"
    )


def _follows(plan: Plan, look: RolloutLook) -> str:
    """What an unmeasured wave brings."""
    if not look.unmeasured:
        return ""
    if plan.gate_unmeasured == "advance":
        return "Too few boards had served enough; the plan goes on all the same."
    return "Too few boards had served enough: it pauses, and whoever resumes it goes on without."


def _one_in(share: float) -> str:
    return f"1 in {round(1 / share):,}" if share else "none"


def _plain(share: float) -> str:
    return f"{share * 100:.4g}"
