"""`report.json`: everything a person or a tool may want to know of a build, rejected candidates included.

Unlike manifests it holds what a stop-watch said, so two builds of one source differ here and only here and in
the measurements of `release.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from edgelift_builder.candidate import Candidate
from edgelift_builder.measure import runtimes
from edgelift_builder.measure.emulated_guest import Emulation
from edgelift_builder.package import Identity, tools
from edgelift_builder.pareto import Objectives, pareto
from edgelift_builder.piece import LayerLoss, Range
from edgelift_builder.search import Trial
from edgelift_contract.release import REPORT_FILE


class CandidateReport(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate. None where it was not reached or could not be measured on this machine.

    Attributes:
        target, hardware_class, variant, format, runtime, steps: what it is.
        shipped, rank, code, reason: what became of it; rank 0 is preferred.
        pareto: does no other candidate that ships for this target beat it in everything; see `pareto`.
        artifact: its id, when shipped.
        size_bytes: graph and weights; size_ratio: float's ÷ this one's.
        metric … method: see `evaluate.Judgement`.
        p50_us, p95_us, float_ratio, load_ms, peak_memory_bytes: on this machine, batch 1, warm; `float_ratio` with
            its 95 % interval, see `latency.ratio`.
        left_float: layers that were to be quantised and stayed float.
        sensitivity: what each layer costs when it alone is quantised, the costliest first; see `piece.LayerLoss`.
        ranges: what calibration saw of each activation; see `piece.Range`.
        golden_atol, golden_quantum, golden_kernels_apart: see `golden.Nearness`.
        emulation: what it did on its target's emulated processor, where `--emulate` ran it.
    """

    target: str
    hardware_class: str
    variant: str
    format: str
    runtime: str
    steps: list[str]
    shipped: bool
    rank: int | None
    pareto: bool
    code: str
    reason: str
    artifact: str
    size_bytes: int
    size_ratio: float | None
    metric: str
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    drop_pp: float | None
    drop_low_pp: float | None
    drop_high_pp: float | None
    lost: int | None
    gained: int | None
    n: int
    method: str
    budget_pp: float
    verdict: str
    p50_us: float | None
    p95_us: float | None
    rounds: int | None
    float_ratio: float | None
    float_ratio_low: float | None
    float_ratio_high: float | None
    load_ms: float | None
    peak_memory_bytes: int | None
    latency: str
    left_float: list[str]
    sensitivity: list[LayerLoss]
    ranges: list[Range]
    remarks: list[str]
    golden_atol: float | None
    golden_quantum: float | None
    golden_kernels_apart: float | None
    emulation: Emulation | None = None


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole build.

    Attributes:
        source: as it was named, without its folder; source_sha256: of its file.
        measured_on: hardware class of this machine.
        seconds: stage → how long it took.
        search: every recipe that `--search` tried.
    """

    SCHEMA: ClassVar[int] = 1

    schema: int
    model: str
    version: str
    release_counter: int
    source: str
    source_sha256: str
    recipe: str
    targets: list[str]
    parameters: int
    metric: str
    samples: int
    calibration_samples: int
    data_sha256: str
    measured_on: str
    runtimes: dict[str, str]
    tools: dict[str, str]
    remarks: list[str]
    seconds: dict[str, float]
    candidates: list[CandidateReport]
    search: list[Trial] = []


def describe(candidate: Candidate, floats: dict[str, int], host: str, place: int | None) -> CandidateReport:
    """One candidate as the report has it; `floats`: format → size of its float32 for the same target."""
    judged, latency, ratio, cost = candidate.judgement, candidate.latency, candidate.float_ratio, candidate.cost
    near = candidate.examined.near if candidate.examined else None
    size = candidate.model_bytes
    float_size = floats.get(candidate.variant.format, 0)
    return CandidateReport(
        target=candidate.target.name,
        hardware_class=candidate.target.hardware_class,
        variant=candidate.variant.name,
        format=candidate.variant.format,
        runtime=candidate.runtime,
        steps=list(candidate.piece.steps) if candidate.piece else [],
        shipped=candidate.shipped,
        rank=place,
        pareto=False,
        code=candidate.code,
        reason=candidate.reason,
        artifact=candidate.artifact,
        size_bytes=size,
        size_ratio=round(float_size / size, 3) if size and float_size else None,
        metric=judged.metric if judged else "",
        value=judged.value if judged else None,
        low=judged.low if judged else None,
        high=judged.high if judged else None,
        baseline=judged.baseline if judged else None,
        drop_pp=judged.drop_pp if judged else None,
        drop_low_pp=judged.drop_low_pp if judged else None,
        drop_high_pp=judged.drop_high_pp if judged else None,
        lost=judged.lost if judged else None,
        gained=judged.gained if judged else None,
        n=judged.n if judged else 0,
        method=judged.method if judged else "",
        budget_pp=candidate.budget_pp,
        verdict=verdict_of(candidate),
        p50_us=round(latency.p50_us, 2) if latency else None,
        p95_us=round(latency.p95_us, 2) if latency else None,
        rounds=latency.rounds if latency else None,
        float_ratio=round(ratio.value, 4) if ratio else None,
        float_ratio_low=round(ratio.low, 4) if ratio else None,
        float_ratio_high=round(ratio.high, 4) if ratio else None,
        load_ms=round(cost.load_ms, 3) if cost else None,
        peak_memory_bytes=cost.peak_bytes if cost else None,
        latency=f"measured on {host}" if latency else "to be measured on the device",
        left_float=list(candidate.piece.left_float) if candidate.piece else [],
        sensitivity=list(candidate.piece.sensitivity) if candidate.piece else [],
        ranges=list(candidate.piece.ranges) if candidate.piece else [],
        remarks=list(candidate.piece.remarks) if candidate.piece else [],
        golden_atol=near.atol if near else None,
        golden_quantum=near.quantum if near else None,
        golden_kernels_apart=near.kernels_apart if near else None,
        emulation=candidate.emulation,
    )


def verdict_of(candidate: Candidate) -> str:
    """Accuracy's verdict; a float variant holds by being the float model, whatever n is."""
    if candidate.judgement is None:
        return ""
    return "holds" if candidate.is_float and not candidate.code else candidate.judgement.verdict


def write_report(
    about: Identity,
    source: str,
    candidates: list[Candidate],
    ranked: dict[str, list[Candidate]],
    seconds: dict[str, float],
    trials: list[Trial],
    folder: Path,
) -> BuildReport:
    """Write `report.json` into the release's folder."""
    described = []
    for candidate in candidates:
        target = candidate.target.name
        floats: dict[str, int] = {
            c.variant.format: c.model_bytes for c in candidates if c.is_float and c.target.name == target
        }
        order = ranked.get(target, [])
        place = order.index(candidate) if candidate in order else None
        described.append(describe(candidate, floats, about.host, place))
    formats = sorted({c.variant.format for c in candidates})
    report = BuildReport(
        schema=BuildReport.SCHEMA,
        model=about.model,
        version=about.version,
        release_counter=about.counter,
        source=source,
        source_sha256=about.facts.sha256,
        recipe=about.recipe.label,
        targets=list(dict.fromkeys(c.target.name for c in candidates)),
        parameters=about.facts.parameters,
        metric=about.facts.metric,
        samples=about.facts.samples,
        calibration_samples=about.facts.calibration_samples,
        data_sha256=about.facts.data_sha256,
        measured_on=about.host,
        runtimes={r: runtimes.version(r) for r in sorted({c.runtime for c in candidates})},
        tools={name: version for f in formats for name, version in tools(f).items()},
        remarks=about.facts.remarks,
        seconds={stage: round(s, 2) for stage, s in seconds.items()},
        candidates=_with_pareto(described),
        search=trials,
    )
    (folder / REPORT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report


def _with_pareto(described: list[CandidateReport]) -> list[CandidateReport]:
    """Marked within each target, among those that ship."""
    best: set[int] = set()
    for target in {c.target for c in described}:
        best |= pareto(
            {
                number: Objectives(c.drop_pp, c.size_bytes, c.p50_us, c.peak_memory_bytes)
                for number, c in enumerate(described)
                if c.target == target and c.shipped and c.drop_pp is not None
            }
        )
    return [msgspec.structs.replace(c, pareto=number in best) for number, c in enumerate(described)]
