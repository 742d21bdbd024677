"""Ships a candidate or rejects it, with its figures; and ranks what is shipped. Rules only, no I/O.

The gates, in order: it was made and runs; a float variant says what the source's own float says; any other
keeps the accuracy budget with its whole interval, and is clearly smaller or faster than the float of its format; where
int8 often gains nothing, see `targets.MUST_BE_FASTER`, it is clearly faster. A time counts on the class that it was
taken on.
`accept` lets pass what only broke a budget: a person has looked at the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from edgelift_builder.candidate import Decided, Examined, Failed, Outcome, Rejected, Shipped, find_float
from edgelift_builder.judge import advice, vanished
from edgelift_builder.measure.evaluate import FLOAT_TOLERANCE, QUANTUM
from edgelift_builder.recipe import FLOAT
from edgelift_builder.targets import MUST_BE_FASTER

#: What counts as smaller (share of float's bytes) and as faster (float's time ÷ this one's, the lower end of its
#: interval): a few bytes of a graph are no gain, and no more is a speed that chance could have shown.
SMALLER, FASTER = 0.95, 1.03


def decide(outcomes: Sequence[Outcome], *, accept: bool) -> list[Decided]:
    """`Shipped` or `Rejected` for each, in order; what failed is rejected, whatever is accepted."""
    decided: list[Decided] = []
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            decided.append(Rejected(outcome.candidate, outcome.error.code, str(outcome.error)))
            continue
        code, reason = _objection(outcomes, outcome)
        decided.append((Rejected if code and not accept else Shipped)(outcome, code, reason))
    return decided


def _objection(outcomes: Sequence[Outcome], candidate: Examined) -> tuple[str, str]:
    """`(code, sentence)` of the first gate that it does not pass; empty when it passes all."""
    examined = candidate.examination
    if candidate.is_float or candidate.as_it_came:
        if examined.float_distance > (FLOAT_TOLERANCE if candidate.is_float else QUANTUM):
            return "conversion-failed", f"Its outputs differ from the source's own {_by(examined.float_distance)}."
        return "", ""
    if candidate.verdict == "fails":
        said = (advice.failed(candidate.judgements), vanished.refusal(candidate.opinion.classes))
        return "accuracy-over-budget", " ".join(filter(None, said))
    if candidate.verdict == "cannot-tell":
        return "not-enough-data", advice.too_few(candidate.judgements)
    if candidate.guessed:
        return "no-data", (
            "It was judged on inputs that were drawn, which say little about real ones: give some with --data, or ship it "
            "as it is with --accept."
        )
    return _gain(outcomes, candidate)


def _by(distance: float) -> str:
    if distance == float("inf"):
        return "in a shape, a text, or where one is NaN or infinite and the other is not"
    return f"by {100 * distance:.2g} % of their range"


def _gain(outcomes: Sequence[Outcome], candidate: Examined) -> tuple[str, str]:
    float_one = find_float(outcomes, candidate)
    if float_one is None:
        return "", ""
    ratio = candidate.known_ratio
    narrow = candidate.piece.computes not in ("float32", "float64")
    smaller = candidate.size_bytes < SMALLER * float_one.size_bytes
    if ratio is not None and ratio.low > FASTER:
        return "", ""
    slower = ratio is not None and ratio.high < 1
    if ratio is not None and candidate.target.hardware_class in MUST_BE_FASTER and (narrow or slower):
        return "no-gain", "It is not clearly faster than float, {:.2f}× as fast ({:.2f} to {:.2f}).".format(*ratio)
    if smaller:
        return "", ""
    size = f"{candidate.size_bytes} against {float_one.size_bytes} bytes"
    if ratio is None:
        return "no-gain", f"It is not clearly smaller than float: {size}."
    speed = "{:.2f}× as fast ({:.2f} to {:.2f})".format(*ratio)
    return "no-gain", f"It is neither clearly smaller than float nor clearly faster: {size}, {speed}."


S = TypeVar("S", bound=Shipped)


def rank(shipped: Sequence[S]) -> list[S]:
    """What ships for one target, best first: by median latency, as measured on a machine of the target's class; what was
    not, after it and in the target's own order.
    """
    return sorted(shipped, key=lambda one: _order(one.candidate))


def _order(candidate: Examined) -> tuple[bool, float, tuple[bool, bool, int, int, bool]]:
    known, target = candidate.known_latency, candidate.target
    name, computes = candidate.variant.name, candidate.piece.computes
    if candidate.is_float and computes not in target.precisions:
        name = computes = FLOAT  # a processor without float16 computes what came so in float32
    return known is None, known.p50_us if known else 0.0, target.order(name, computes, candidate.runtime)
