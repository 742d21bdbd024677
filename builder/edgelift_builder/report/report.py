"""`report.json`: everything a person or a tool may want to know of a build, rejected candidates included.

Unlike manifests it holds what a stop-watch said, so two builds of one source differ here and only here and in
the measurements of `release.json`.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from edgelift_builder.judge.measure import Measure, Unit
from edgelift_builder.judge.vanished import ClassLoss
from edgelift_builder.judge.worst import Worst
from edgelift_builder.measure.emulated_guest import Emulation
from edgelift_builder.piece import LayerLoss, Range
from edgelift_builder.search import Trial


class JudgementReport(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a candidate; see `judgement.Judgement`.

    Attributes:
        name: as `--budget` has it.
        value … loss_high: None where it has no end.
        largest_budget: that there is for it; None where there is no such.
    """

    name: str
    metric: str
    unit: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    lost: int
    gained: int
    method: str
    budget: float
    largest_budget: float | None
    verdict: str
    samples_needed: int | None

    @property
    def measure(self) -> Measure:
        """What its figures are told in."""
        return Measure(self.metric, unit="percent" if self.unit == "percent" else "points")


class CandidateReport(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate. None where it was not reached or could not be measured on this machine.

    Attributes:
        target, hardware_class, variant, format, runtime, steps: what it is.
        shipped, rank, code, reason: what became of it; rank 0 is preferred.
        unmeasured: has no machine of its target's class timed it, so that its rank is the target's own order.
        pareto: does no other candidate that ships for this target beat it in everything; see `pareto`.
        artifact: its id, when shipped.
        size_bytes: graph and weights; size_ratio: float's ÷ this one's.
        metric … method: see `judgement.Judgement`; of the first metric.
        samples_needed: about how many samples would tell of every metric, where these cannot; see `advice.samples_needed`.
        judgements: by every metric, the first first.
        beside: further measures, which decide nothing: name → the artifact's, and float's.
        worst: where it lies furthest from float, and the samples that moved most, numbered as the source gave them.
        classes: of which much is lost; a class that is gone beyond chance refuses it, see `vanished`.
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
    unmeasured: bool
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
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    unit: str
    lost: int | None
    gained: int | None
    n: int
    method: str
    budget: float | None
    verdict: str
    samples_needed: int | None
    judgements: list[JudgementReport]
    beside: dict[str, tuple[float, float]]
    worst: Worst | None
    classes: list[ClassLoss]
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

    @property
    def measure(self) -> Measure:
        """What the first metric's figures are told in."""
        return Measure(self.metric, unit="percent" if self.unit == "percent" else "points")


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole build.

    Attributes:
        source: as it was named, without its folder; source_sha256: of its file.
        metric, unit, judged: what is measured first, in what unit it loses; how, and what the float model scores.
        measured_on: hardware class of this machine.
        held_out: are the calibration samples, which chose what was chosen, none of those that judged.
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
    unit: Unit
    judged: str
    samples: int
    calibration_samples: int
    held_out: bool
    data_sha256: str
    measured_on: str
    runtimes: dict[str, str]
    tools: dict[str, str]
    remarks: list[str]
    seconds: dict[str, float]
    candidates: list[CandidateReport]
    search: list[Trial] = []
