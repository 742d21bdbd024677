"""Ships a candidate or rejects it, with its figures; and ranks what is shipped. Rules only, no I/O.

The gates, in order: it was made and runs; a float variant says what the source's own float says; any other
keeps the accuracy budget beyond doubt, and is clearly smaller or faster than the float of its format. `accept` lets
pass what only broke a budget: a person has looked at the figures.
"""

from __future__ import annotations

from edgelift_builder.candidate import Candidate, find_float
from edgelift_builder.measure.evaluate import FLOAT_TOLERANCE

#: What counts as smaller (share of float's bytes) and as faster (float's time ÷ this one's, the lower end of its
#: interval): a few bytes of a graph are no gain, and no more is a speed that chance could have shown.
SMALLER, FASTER = 0.95, 1.03


def decide(candidates: list[Candidate], *, accept: bool) -> None:
    """Set `shipped`, `code` and `reason` of each."""
    for candidate in candidates:
        code, reason = _objection(candidates, candidate)
        possible = candidate.examined is not None and candidate.error is None
        candidate.code, candidate.reason = code, reason
        candidate.shipped = possible and (not code or accept)


def _objection(candidates: list[Candidate], candidate: Candidate) -> tuple[str, str]:
    """`(code, sentence)` of the first gate that it does not pass; empty when it passes all."""
    if candidate.error:
        return candidate.error.code, candidate.error.message
    examined, judged = candidate.examined, candidate.judgement
    if examined is None or judged is None:
        return "internal", "It was not examined."
    if candidate.is_float:
        if examined.float_distance > FLOAT_TOLERANCE:
            share = f"{100 * examined.float_distance:.2g} %"
            return "conversion-failed", f"Its outputs differ from the source's own by {share} of their range."
        return "", ""
    budget = f"the budget of {candidate.budget_pp:g} points"
    drop = f"{judged.drop_pp:+.2f} points ({judged.drop_low_pp:+.2f} to {judged.drop_high_pp:+.2f})"
    if judged.verdict == "fails":
        return "accuracy-over-budget", f"It loses {drop} against float, over {budget}."
    if judged.verdict == "cannot-tell":
        return (
            "not-enough-data",
            f"With {judged.n} samples it cannot be told whether its loss, {drop}, keeps {budget}.",
        )
    return _gain(candidates, candidate)


def _gain(candidates: list[Candidate], candidate: Candidate) -> tuple[str, str]:
    float_one = find_float(candidates, candidate)
    if float_one is None:
        return "", ""
    smaller = candidate.model_bytes < SMALLER * float_one.model_bytes
    faster = candidate.float_ratio is not None and candidate.float_ratio.low > FASTER
    if smaller or faster:
        return "", ""
    size = f"{candidate.model_bytes} against {float_one.model_bytes} bytes"
    if candidate.float_ratio is None:
        return "no-gain", f"It is not clearly smaller than float: {size}."
    speed = "{:.2f}× as fast ({:.2f} to {:.2f})".format(*candidate.float_ratio)
    return "no-gain", f"It is neither clearly smaller than float nor clearly faster: {size}, {speed}."


def rank(shipped: list[Candidate]) -> list[Candidate]:
    """Candidates for one target, best first: by measured median latency; unmeasured ones after, by the target's
    own order of precisions and runtimes, and TorchScript, the legacy, last.
    """

    def key(candidate: Candidate) -> tuple[int, float, int, int, int]:
        order = candidate.target.runtimes.index(candidate.runtime)
        measured = candidate.latency.p50_us if candidate.latency else 0.0
        legacy = int(candidate.variant.format == "torchscript")
        return (
            int(candidate.latency is None), measured, legacy * int(not measured), _place(candidate), order,
        )  # fmt: skip

    return sorted(shipped, key=key)


def _place(candidate: Candidate) -> int:
    return candidate.target.preference(candidate.piece.precision if candidate.piece else "")
