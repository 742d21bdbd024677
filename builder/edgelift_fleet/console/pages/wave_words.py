"""The waves of a rollout, as a strip: how many devices each is to have, and where those that it has stand. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from edgelift_fleet.messages import RolloutView
from edgelift_fleet.rollout.foresight import Alike
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import BAD, OUTSIDE, TERMINAL, UNDER_WAY


class WaveLine(msgspec.Struct, frozen=True):
    """A wave.

    Attributes:
        wave: from 1.
        reach: as it was written, as `25%`.
        word: `done`, `running`, `waiting` (it has not begun), `paused`, `rolling-back`, `rolled-back` or `never`.
        planned: devices that it adds to those of the waves before.
        devices: that it reached; `counts` has them by status.
        committed, under_way, failed, offline, back: of those; `other`: the rest of them.
    """

    wave: int
    reach: str
    word: str
    planned: int
    devices: int = 0
    committed: int = 0
    under_way: int = 0
    failed: int = 0
    offline: int = 0
    back: int = 0
    other: int = 0
    counts: dict[str, int] = {}


def wave_lines(plan: Plan, shown: RolloutView, groups: Sequence[Alike]) -> list[WaveLine]:
    """All waves of a rollout; `groups` are its devices."""
    outside = sum(one.count for one in groups if one.status in OUTSIDE and one.status != "left")
    size, before, made = max(0, shown.cohort - outside), 0, []
    for number, wave in enumerate(plan.waves):
        reach = max(before, wave.reach(size))
        mine = [one for one in groups if one.wave == number]
        made.append(_line(number, shown, mine, reach - before))
        before = reach
    return made


def _line(number: int, shown: RolloutView, mine: Sequence[Alike], planned: int) -> WaveLine:
    counts: Counter[str] = Counter()
    for one in mine:
        counts[one.status] += one.count
    failed = sum(counts[status] for status in BAD)
    under_way = sum(counts[status] for status in UNDER_WAY)
    devices = counts.total()
    rest = devices - failed - under_way - counts["committed"] - counts["offline"] - counts["restored"]
    return WaveLine(
        number + 1, shown.waves[number], _word(number + 1, shown, devices), planned, devices, counts["committed"],
        under_way, failed, counts["offline"], counts["restored"], rest, dict(sorted(counts.items())),
    )  # fmt: skip


def _word(wave: int, shown: RolloutView, devices: int) -> str:
    if wave > shown.wave or (wave < shown.wave and not devices):
        return "never" if shown.state in (*TERMINAL, "rolling-back") or wave < shown.wave else "waiting"
    if shown.state == "rolled-back" or (shown.state == "wave-rolled-back" and wave == shown.wave):
        return "rolled-back"
    if shown.state == "rolling-back" and (not shown.keep_earlier or wave == shown.wave):
        return "rolling-back"
    if wave < shown.wave or shown.state in ("done", "wave-rolled-back"):
        return "done"
    return shown.state
