"""Makes the report from what the gates decided, and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import msgspec

from edgelift_builder.candidate import Candidate, Decided, Examined, Made, Measured, Packaged, Shipped
from edgelift_builder.judge import advice
from edgelift_builder.judge.judgement import Judgement
from edgelift_builder.judge.worst import Worst
from edgelift_builder.measure import runtimes
from edgelift_builder.package import Identity, tools
from edgelift_builder.pareto import pareto
from edgelift_builder.report.report import BuildReport, CandidateReport, JudgementReport
from edgelift_builder.report.verdict import objectives
from edgelift_builder.search import Trial
from edgelift_builder.source import held_out
from edgelift_contract.release import REPORT_FILE


def describe(decided: Decided, float_bytes: int, about: Identity, rank: int | None) -> CandidateReport:
    """One candidate as the report has it.

    Args:
        decided: the candidate, as far as it came, and what became of it.
        float_bytes: size of the float32 of its format for the same target; 0 where there is none.
        about: what is released, and from what.
        rank: its place among those that ship for its target; None for a rejected one.
    """
    candidate = decided.candidate
    return CandidateReport(
        target=candidate.target.name,
        hardware_class=candidate.target.hardware_class,
        variant=candidate.variant.name,
        format=candidate.variant.format,
        runtime=candidate.runtime,
        shipped=isinstance(decided, Shipped),
        rank=rank,
        pareto=False,
        unmeasured=not (isinstance(candidate, Examined) and candidate.known_latency),
        code=decided.code,
        reason=decided.reason,
        artifact=decided.artifact if isinstance(decided, Packaged) else "",
        verdict=decided.verdict,
        **_files(candidate, float_bytes),
        **_answers(candidate, set_aside=about.facts.set_aside),
        **_costs(candidate, about.host),
    )


def _files(candidate: Candidate, float_bytes: int) -> dict[str, Any]:
    made = candidate if isinstance(candidate, Made) else None
    piece, size = (made.piece, made.size_bytes) if made else (None, 0)
    opinion = candidate.opinion if isinstance(candidate, Examined) else None
    return {
        "steps": list(piece.steps) if piece else [],
        "size_bytes": size,
        "size_ratio": round(float_bytes / size, 3) if size and float_bytes else None,
        "left_float": list(piece.left_float) if piece else [],
        "sensitivity": list(piece.sensitivity) if piece else [],
        "ranges": list(piece.ranges) if piece else [],
        "remarks": [*(piece.remarks if piece else ()), *(opinion.remarks if opinion else ())],
    }


_JUDGED = (
    "value", "low", "high", "baseline", "loss", "loss_low", "loss_high", "lost", "gained", "budget",
)  # fmt: skip


def _numbered(worst: Worst | None, *, set_aside: bool) -> Worst | None:
    """Samples as the source numbers them."""
    if worst is None or not set_aside:
        return worst
    return replace(worst, samples=tuple(replace(s, sample=held_out.original(s.sample)) for s in worst.samples))


def _answers(candidate: Candidate, *, set_aside: bool) -> dict[str, Any]:
    examined = candidate if isinstance(candidate, Examined) else None
    judged, near = (examined.judgement, examined.examination.near) if examined else (None, None)
    return {name: getattr(judged, name) if judged else None for name in _JUDGED} | {
        "metric": judged.metric if judged else "",
        "unit": judged.unit if judged else "",
        "n": judged.n if judged else 0,
        "method": judged.method if judged else "",
        "samples_needed": advice.samples_needed(examined.judgements) if examined else None,
        "judgements": [_judgement(one) for one in examined.judgements] if examined else [],
        "beside": dict(examined.opinion.beside) if examined else {},
        "worst": _numbered(examined.opinion.worst, set_aside=set_aside) if examined else None,
        "classes": list(examined.opinion.classes) if examined else [],
        "golden_atol": near.atol if near else None,
        "golden_quantum": near.quantum if near else None,
        "golden_kernels_apart": near.kernels_apart if near else None,
        "emulation": examined.emulation if examined else None,
    }


def _judgement(judged: Judgement) -> JudgementReport:
    found: dict[str, Any] = {
        n: getattr(judged, n) for n in JudgementReport.__struct_fields__ if hasattr(judged, n)
    }
    found["largest_budget"] = judged.room
    ended: dict[str, Any] = {n: None if isinstance(v, float) and not isfinite(v) else v for n, v in found.items()}
    return JudgementReport(**ended)


def _costs(candidate: Candidate, host: str) -> dict[str, Any]:
    measured = candidate if isinstance(candidate, Measured) else None
    times, ratio, cost = (
        (measured.latency, measured.float_ratio, measured.cost) if measured else (None, None, None)
    )
    return {
        "p50_us": round(times.p50_us, 2) if times else None,
        "p95_us": round(times.p95_us, 2) if times else None,
        "rounds": times.rounds if times else None,
        "float_ratio": round(ratio.value, 4) if ratio else None,
        "float_ratio_low": round(ratio.low, 4) if ratio else None,
        "float_ratio_high": round(ratio.high, 4) if ratio else None,
        "load_ms": round(cost.load_ms, 3) if cost else None,
        "peak_memory_bytes": cost.peak_bytes if cost else None,
        "latency": f"measured on {host}" if times else "to be measured on the device",
    }


def write_report(
    about: Identity,
    source: str,
    decided: Sequence[Decided],
    ranked: dict[str, list[Packaged]],
    seconds: dict[str, float],
    trials: list[Trial],
    folder: Path,
) -> BuildReport:
    """Write `report.json` into the release's folder.

    Args:
        about: what is released, and from what.
        source: as it was named, without its folder.
        decided: every candidate.
        ranked: target → what ships for it, best first.
        seconds: stage → how long it took.
        trials: what `--search` tried.
        folder: the release's.
    """
    candidates, described = [one.candidate for one in decided], _described(decided, ranked, about)
    facts, formats = about.facts, sorted({c.variant.format for c in candidates})
    report = BuildReport(
        schema=BuildReport.SCHEMA,
        model=about.model,
        version=about.version,
        release_counter=about.counter,
        source=source,
        source_sha256=facts.sha256,
        recipe=about.recipe.label,
        targets=list(dict.fromkeys(c.target.name for c in candidates)),
        parameters=facts.parameters,
        metric=facts.metric,
        unit=facts.unit,
        judged=facts.judged,
        samples=facts.samples,
        calibration_samples=facts.calibration_samples,
        held_out=facts.held_out,
        data_sha256=facts.data_sha256,
        measured_on=about.host,
        runtimes={r: runtimes.version(r) for r in sorted({c.runtime for c in candidates})},
        tools={name: version for f in formats for name, version in tools(f).items()},
        remarks=[*facts.remarks, *_vouched(about)],
        seconds={stage: round(s, 2) for stage, s in seconds.items()},
        candidates=_with_pareto(described),
        search=trials,
    )
    (folder / REPORT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report


def _described(
    decided: Sequence[Decided], ranked: dict[str, list[Packaged]], about: Identity
) -> list[CandidateReport]:
    candidates = [one.candidate for one in decided]
    floats = {
        (c.target.name, c.variant.format): c.size_bytes for c in candidates if c.is_float and isinstance(c, Made)
    }
    ranks: dict[Decided, int] = {one: rank for packaged in ranked.values() for rank, one in enumerate(packaged)}
    return [
        describe(one, floats.get((c.target.name, c.variant.format), 0), about, ranks.get(one))
        for one, c in zip(decided, candidates, strict=True)
    ]


def _with_pareto(described: list[CandidateReport]) -> list[CandidateReport]:
    """Marked within each target, among those that ship."""
    best: set[int] = set()
    for target in {c.target for c in described}:
        best |= pareto(
            {
                number: objectives(c)
                for number, c in enumerate(described)
                if c.target == target and c.shipped and c.loss is not None
            }
        )
    return [msgspec.structs.replace(c, pareto=number in best) for number, c in enumerate(described)]


def _vouched(about: Identity) -> list[str]:
    signature = about.signature
    return [f"The source's signature holds: {signature.signer}."] if signature else []
