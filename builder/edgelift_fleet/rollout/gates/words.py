"""What a gate says: figures, threshold, and what is not promised, in one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1

from edgelift_fleet.rollout.gates.looks import Looked

#: A contrast as likely as this by chance alone isn't worth a word.
_NOTHING = 0.2


@dataclass(frozen=True)
class Contrast:
    """One comparison at one look.

    Attributes:
        series: what was compared, a value of `measure.SERIES`.
        hardware_class: where; empty for all classes together.
        shift: by how much members lie above controls, in the series' unit (latency: natural logarithm).
        allowed: how much may be.
        members, controls: how many devices counted.
        p: the odds of a rank like this one alone, among all draws.
        interval: in which the shift lies with 95 %, by this look alone; None where too few devices counted, and of silence.
    """

    series: str
    hardware_class: str
    shift: float
    allowed: float
    members: int
    controls: int
    p: float
    interval: tuple[float, float] | None = None


def say(finding: Contrast, p: float, threshold: float) -> str:
    """One finding, with the odds and the threshold that hold for everything that was looked at.

    As `latency p95 on arm64-neon +31 % (5 boards against 20 controls, p = 0.0004 ≤ 0.0017; allowed +5 %)`.
    """
    where = f" on {finding.hardware_class}" if finding.hardware_class else ""
    boards, controls = count(finding.members, "board"), count(finding.controls, "control")
    odds = f"p = {_odds(p)} ≤ {_odds(threshold)}" if p <= threshold else f"p > {_odds(threshold)}"
    shown, allowed = amount(finding.series, finding.shift), amount(finding.series, finding.allowed)
    return f"{finding.series}{where} {shown} ({boards} against {controls}, {odds}; allowed {allowed})"


def sum_up(
    number: int, of: int, contrasts: Sequence[Contrast], looked: Looked | None, *, unserved: bool = False
) -> str:
    """What a look came to: the worst where it is a breach, else what came nearest to one, if anything did.

    With `unserved`, nobody has served enough, and only who is silent is compared.
    """
    if looked is None or not contrasts:
        return f"look {number} of {of}: nothing can be compared"
    worst = contrasts[0]
    if looked.breach:
        return say(worst, looked.p, looked.threshold)
    if unserved:
        return f"look {number} of {of}: nothing but silence can be compared"
    if worst.p > _NOTHING:
        boards, controls = count(worst.members, "board"), count(worst.controls, "control")
        return f"look {number} of {of}: nothing stands out ({boards} against {controls})"
    return f"look {number} of {of}: nothing worse than {say(worst, looked.p, looked.threshold)}"


def amount(series: str, shift: float) -> str:
    """A shift in words: `+31 %`, `+1.5 points`."""
    if series.startswith("latency"):
        return f"{expm1(shift) * 100:+.0f} %" if abs(shift) > 1e-9 else "+0 %"
    return f"{shift * 100 + 0.0:+.1f} points"


def amount_of(series: str, shift: float) -> float:
    """A shift as a share: of latency by how much slower, else the difference of two shares."""
    return expm1(shift) if series.startswith("latency") else shift


def no_rate(members: int, controls: int, ways: int, alpha: float) -> str:
    """Why nothing is tested."""
    if not controls:
        why = "no control is left"
    elif not alpha:
        why = f"too few devices ({count(members, 'board')} against {count(controls, 'control')})"
    else:
        why = (
            f"too few devices ({count(members, 'board')} against {count(controls, 'control')} can be drawn in "
            f"{count(ways, 'way')}, {1 / alpha:.0f} are needed)"
        )
    return f"no stated false-alarm rate: {why}. Each board's own guard decides alone."


def count(number: int, noun: str) -> str:
    """`1 board`, `3 boards`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _odds(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.1e}"
