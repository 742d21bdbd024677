"""What would help a variant that could not be told to keep its budgets, in the very words to type."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import ceil

from edgelift_builder.judge.judgement import LEAST_SAMPLES, Judgement
from edgelift_builder.request import LARGEST_BUDGET


def samples_needed(judgements: Sequence[Judgement]) -> int | None:
    """About how many samples would tell of all metrics; None where these do, one fails, or no number would do."""
    unsure = [j.samples_needed for j in judgements if j.verdict == "cannot-tell"]
    if any(j.verdict == "fails" for j in judgements) or None in unsure:
        return None
    return max((n for n in unsure if n is not None), default=None)


def too_few(judgements: Sequence[Judgement]) -> str:
    """A refusal for the metrics of which it can't be told, and the ways on."""
    unsure = [j for j in judgements if j.verdict == "cannot-tell"]
    whether = "; nor whether ".join(f"its loss, {lost(j)}, keeps the budget of {j.amount}" for j in unsure[:_SAID])
    said = f"With {unsure[0].n} samples it cannot be told whether {whether}{_more(unsure)}."
    needed, room = samples_needed(unsure), more_room(judgements)
    accept = "ship it as it is with --accept."
    if needed:
        return f"{said} About {needed} samples would tell: add some, {room + ', ' if room else ''}or {accept}"
    worse = any(j.samples_needed is None and j.loss > j.budget for j in unsure)
    less = "would likely show that it does not" if worse else "would not tell"
    way = f"{room}, or {accept}" if room else f"No budget would help; {accept}"
    return f"{said} More samples like these {less}. {way[0].upper()}{way[1:]}"


def failed(judgements: Sequence[Judgement]) -> str:
    """A refusal for the metrics whose budgets are broken; empty where none is."""
    broken = [j for j in judgements if j.verdict == "fails"]
    if not broken:
        return ""
    each = "; and ".join(f"{lost(j)} against float, over the budget of {j.amount}" for j in broken[:_SAID])
    return f"It loses {each}{_more(broken)}."


#: Metrics that a sentence tells in full.
_SAID = 3


def _more(found: Sequence[Judgement]) -> str:
    return f"; and so on in {len(found) - _SAID} more metrics" if len(found) > _SAID else ""


def lost(judged: Judgement) -> str:
    """A loss in words: `+0.13 points of accuracy (-0.35 to +0.71)`."""
    unit = "points of" if judged.unit == "points" else "% of"
    return f"{judged.loss:+.2f} {unit} {judged.name} ({judged.loss_low:+.2f} to {judged.loss_high:+.2f})"


def more_room(judgements: Sequence[Judgement]) -> str:
    """With which budgets what was found would hold; empty where there are none: too few samples, no end of a loss, or as
    much as an answer that looks at no input loses.
    """
    unsure = [j for j in judgements if j.verdict != "holds"]
    if any(not _may_hold(j) for j in unsure):
        return ""
    return "give it more room with " + " ".join(asked(j, first=j is judgements[0]) for j in unsure)


def _may_hold(judged: Judgement) -> bool:
    return judged.n >= LEAST_SAMPLES and judged.loss_high <= min(judged.room, LARGEST_BUDGET)


def asked(judged: Judgement, *, first: bool) -> str:
    """`--budget 0.71`, or of another metric than the first `--budget 'box overlap=3.2'`."""
    budget = f"{ceil(100 * judged.loss_high) / 100:g}"
    alone = first and judged.name == judged.metric
    return f"--budget {budget if alone else shlex.quote(f'{judged.name}={budget}')}"
